/** What is kept: a lab that must not end for being idle, and the files of one that has ended. */
import { IconClockPause } from '@tabler/icons-react'
import type { Lab } from '#/api/model'
import { exact, short } from '#/format/time'
import { useNow } from '#/parts/now'
import css from './labs.module.css'
import { ended } from './states'

/** Until when it is never idle. */
export function Kept({ lab }: { lab: Lab }) {
  const now = useNow()
  if (!lab.kept_until || Date.parse(lab.kept_until) < now) return null
  return (
    <p className={css.kept} title={exact(lab.kept_until)}>
      <IconClockPause size={16} aria-hidden />
      Kept for a long run until {short(lab.kept_until)}
    </p>
  )
}

/** Until when what the lab wrote outside the home can be had back by a restart. */
export function FilesKept({ lab }: { lab: Lab }) {
  const now = useNow()
  if (!ended(lab) || !lab.files_kept_until || Date.parse(lab.files_kept_until) < now) return null
  const what = lab.runtime === 'vm' ? 'Its disk is' : 'Its scratch files are'
  return (
    <span title={exact(lab.files_kept_until)}>
      {what} kept until {short(lab.files_kept_until)}.
    </span>
  )
}
