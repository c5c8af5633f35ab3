import {
  IconAlertTriangle,
  IconCheck,
  IconCircleDashed,
  IconClockHour4,
  IconLoader2,
  IconPlayerStopFilled,
  IconPlugConnectedX,
  IconX,
} from '@tabler/icons-react'
import type { ComponentType } from 'react'
import type { LabState } from '#/api/model'
import { STATES, type Tone } from '#/labs/states'
import css from './parts.module.css'

type Glyph = ComponentType<{ size?: number | string; className?: string; stroke?: number }>

const GLYPHS: Record<LabState, Glyph> = {
  queued: IconClockHour4,
  preparing: IconCircleDashed,
  starting: IconLoader2,
  ready: IconCheck,
  unreachable: IconPlugConnectedX,
  stopping: IconLoader2,
  stopped: IconPlayerStopFilled,
  failed: IconX,
}

const TURNING: ReadonlySet<LabState> = new Set<LabState>(['preparing', 'starting', 'stopping'])

/** A state as word, icon and colour; never colour alone. */
export function StateBadge({ state }: { state: LabState }) {
  const { word, tone } = STATES[state]
  const Glyph = GLYPHS[state]
  return (
    <span className={css.badge} data-tone={tone} data-state={state}>
      <Glyph size={16} stroke={2.2} className={TURNING.has(state) ? css.turning : undefined} aria-hidden />
      {word}
    </span>
  )
}

const TONE_GLYPHS: Record<Tone, Glyph> = {
  wait: IconClockHour4,
  move: IconLoader2,
  good: IconCheck,
  warn: IconAlertTriangle,
  rest: IconPlayerStopFilled,
  bad: IconX,
}

/** Any other word with a tone. */
export function ToneBadge({ tone, children }: { tone: Tone; children: React.ReactNode }) {
  const Glyph = TONE_GLYPHS[tone]
  return (
    <span className={css.badge} data-tone={tone}>
      <Glyph size={16} stroke={2.2} aria-hidden />
      {children}
    </span>
  )
}
