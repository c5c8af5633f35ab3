import { compiler } from 'markdown-to-jsx/react'
import { useMemo } from 'react'
import css from './markdown.module.css'

/** Markdown as elements; HTML inside it stays text, and a link leads nowhere but to the web or a mailbox. */
export default function Markdown({ text }: { text: string }) {
  const content = useMemo(
    () =>
      compiler(text, {
        disableParsingRawHTML: true,
        forceBlock: true,
        overrides: {
          // The page has its own first headings; those of a text stand below them.
          h1: { component: 'h3' },
          h2: { component: 'h3' },
          h3: { component: 'h4' },
          a: { props: { rel: 'noreferrer', target: '_blank' } },
          table: { component: ScrollingTable },
          pre: { props: { tabIndex: 0 } },
        },
      }),
    [text],
  )
  return <div className={css.text}>{content}</div>
}

function ScrollingTable({ children }: { children?: React.ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section style={{ overflowX: 'auto' }} tabIndex={0} aria-label="Table">
      <table>{children}</table>
    </section>
  )
}
