/** The arithmetic of the segmented bar: what happened of a launch, laid against the usual times. */
import type { Lab, Timeline } from '#/api/model'
import { millis } from '#/format/time'
import { coming } from './states'

export interface Segment {
  name: string
  /** Seconds that this phase has taken so far, or took. */
  seconds: number
  usual: number | null
  state: 'done' | 'now' | 'ahead'
  /** Share of the whole bar, all shares add up to 1. */
  share: number
  /** How much of the segment is filled, 0 to 1. */
  fill: number
  text: string
}

/** The order of a launch; usual times come without one. */
const ORDER = ['queued', 'volumes', 'environment', 'placing', 'starting', 'probing']

const WORDS: Record<string, string> = {
  queued: 'Queue',
  volumes: 'Files',
  environment: 'Software',
  placing: 'Place',
  starting: 'Start',
  probing: 'First answer',
}

/** A phase's name as a heading. */
export function phaseWord(name: string): string {
  const known = WORDS[name]
  if (known) return known
  const words = name.replaceAll(/[_-]+/g, ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

/** No segment is thinner than this share, so that a phase of 20 ms can still be seen and pointed at. */
const LEAST_SHARE = 0.05

/**
 * Lay the phases that ran or run and those still usual to come side by side.
 * A phase is as wide as the longer of its usual and its real time; while it runs it fills towards its usual time and
 * never claims to be full (0.95) before it ended.
 */
export function segments(timeline: Timeline, now: number, finished: boolean): Segment[] {
  const rows: Omit<Segment, 'share'>[] = []
  const seen = new Set<string>()
  for (const phase of timeline.phases) {
    const usual = timeline.usual?.[phase.name] ?? null
    const running = phase.ended_at == null && !finished
    const seconds = running ? Math.max(phase.seconds, (now - millis(phase.started_at)) / 1000) : phase.seconds
    seen.add(phase.name)
    rows.push({
      name: phase.name,
      seconds: Math.max(0, seconds),
      usual,
      state: running ? 'now' : 'done',
      fill: running ? Math.min(0.95, usual ? seconds / usual : 0.5) : 1,
      text: phase.text,
    })
  }
  if (!finished) {
    // What stands before the phase of the moment was skipped and will not come any more.
    const reached = Math.max(-1, ...timeline.phases.map((phase) => ORDER.indexOf(phase.name)))
    const ahead = Object.entries(timeline.usual ?? {})
      .filter(([name]) => !seen.has(name) && (place(name) > reached || reached < 0))
      .sort(([a], [b]) => place(a) - place(b))
    for (const [name, usual] of ahead)
      rows.push({ name, seconds: 0, usual, state: 'ahead', fill: 0, text: '' })
  }
  return withShares(rows)
}

/** Unknown phases come last. */
function place(name: string): number {
  const at = ORDER.indexOf(name)
  return at < 0 ? ORDER.length : at
}

function withShares(rows: Omit<Segment, 'share'>[]): Segment[] {
  const weights = rows.map((row) => Math.max(row.seconds, row.usual ?? 0, 0.001))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  const least = Math.min(LEAST_SHARE, rows.length === 0 ? 0 : 1 / rows.length)
  const raised = weights.map((weight) => Math.max(weight / total, least))
  const sum = raised.reduce((all, share) => all + share, 0)
  return rows.map((row, index) => ({ ...row, share: (raised[index] ?? 0) / sum }))
}

/**
 * A timeline as the lab's own state makes it: events tell a lab's state at once, its timeline is read after them. Until
 * then a phase that was under way has ended when the lab became ready or ended; one of an earlier attempt is none.
 */
export function consistent(timeline: Timeline | undefined, lab: Lab): Timeline | undefined {
  if (!timeline || timeline.attempt !== lab.attempt) return undefined
  const over = coming(lab) ? null : (lab.ready_at ?? lab.ended_at)
  const last = timeline.phases.at(-1)
  if (over == null || !last || last.ended_at != null) return timeline
  const since = (from: string): number => Math.max(0, millis(over) - millis(from)) / 1000
  return {
    ...timeline,
    seconds: Math.max(timeline.seconds, since(timeline.phases[0]?.started_at ?? over)),
    phases: timeline.phases.map((phase) =>
      phase.ended_at != null ? phase : { ...phase, ended_at: over, seconds: since(phase.started_at) },
    ),
  }
}

/** Seconds still to come by the usual times; null when nothing usual is known. */
export function remaining(parts: readonly Segment[]): number | null {
  const known = parts.filter((part) => part.usual !== null)
  if (known.length === 0) return null
  return known.reduce((sum, part) => {
    if (part.state === 'done') return sum
    return sum + Math.max(0, (part.usual ?? 0) - (part.state === 'now' ? part.seconds : 0))
  }, 0)
}
