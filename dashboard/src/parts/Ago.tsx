import { exact, relative } from '#/format/time'
import { useNow } from './now'

/** A moment: relative to read, exact on hover, in the reader's zone. */
export function Ago({ at }: { at: string }) {
  const now = useNow()
  return (
    <time dateTime={at} title={exact(at)}>
      {relative(at, now)}
    </time>
  )
}
