import { Tooltip } from '@mantine/core'
import { duration } from '#/format/time'
import css from './labs.module.css'
import { phaseWord, type Segment } from './phases'

interface Props {
  segments: readonly Segment[]
  /** Thin, without words: for cards. */
  compact?: boolean
  failed?: boolean
}

/** A narrower segment has no room for its name; pointing at it tells it. */
const LEAST_FOR_WORDS = 0.13

/** The phases of a launch side by side, filled as they pass, against their usual times. */
export function PhaseBar({ segments, compact = false, failed = false }: Props) {
  if (segments.length === 0)
    return <div className={css.phases} data-compact={compact || undefined} aria-hidden />
  const current = segments.find((segment) => segment.state === 'now')
  return (
    <ol
      className={css.phases}
      data-compact={compact || undefined}
      aria-label={current ? `Phases; now: ${phaseWord(current.name)}` : 'Phases'}
    >
      {segments.map((segment, index) => {
        const took = segment.state === 'ahead' ? '' : duration(segment.seconds)
        const usual = segment.usual === null ? '' : `usually ${duration(segment.usual)}`
        const bad = failed && index === segments.length - 1
        return (
          <Tooltip
            key={segment.name}
            label={[phaseWord(segment.name), took, usual, segment.text].filter(Boolean).join(' · ')}
            multiline
            maw={280}
          >
            <li style={{ flexGrow: segment.share * 100 }} data-state={bad ? 'bad' : segment.state}>
              <div className={css.track}>
                <div className={css.fill} style={{ width: `${segment.fill * 100}%` }} />
              </div>
              <span className={compact || segment.share < LEAST_FOR_WORDS ? 'sr' : css.phaseWords}>
                <b>{phaseWord(segment.name)}</b> <span>{took || usual}</span>
              </span>
            </li>
          </Tooltip>
        )
      })}
    </ol>
  )
}
