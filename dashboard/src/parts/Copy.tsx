import { useClipboard } from '@mantine/hooks'
import { IconCheck, IconCopy } from '@tabler/icons-react'
import css from './parts.module.css'

interface Props {
  text: string
  /** What it is, for the button's name: "path", "citation". */
  what: string
  shown?: string
}

/** A text that is a button: a click copies it, and says so. */
export function Copy({ text, what, shown }: Props) {
  const clipboard = useClipboard({ timeout: 1600 })
  return (
    <button
      type="button"
      className={css.copy}
      onClick={() => clipboard.copy(text)}
      title={clipboard.copied ? 'Copied' : `Copy the ${what}`}
    >
      <code>{shown ?? text}</code>
      {clipboard.copied ? <IconCheck size={15} aria-hidden /> : <IconCopy size={15} aria-hidden />}
      <span className="sr" aria-live="polite">
        {clipboard.copied ? 'Copied' : `, copy the ${what}`}
      </span>
    </button>
  )
}
