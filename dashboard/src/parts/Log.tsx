import type { CSSProperties, Ref } from 'react'
import css from './parts.module.css'

interface Props {
  label: string
  text: string
  className?: string | undefined
  style?: CSSProperties
  box?: Ref<HTMLElement>
}

/** Lines as they were written, in a box that scrolls and that the keyboard can reach. */
export function Log({ label, text, className = '', style, box }: Props) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section ref={box} className={`${css.log} ${className}`} style={style} aria-label={label} tabIndex={0}>
      <pre>{text}</pre>
    </section>
  )
}
