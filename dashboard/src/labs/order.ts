/** Which labs need their owner most, and a list that does not move under the pointer. */
import type { Lab } from '#/api/model'
import { millis } from '#/format/time'
import { coming, ended } from './states'

export const EXPIRY_NOTICE_SECONDS = 15 * 60
export const FRESH_FAILURE_SECONDS = 60 * 60

/** Whether its end is near enough to say so. */
export function expiring(lab: Lab, now: number): boolean {
  return (
    (lab.state === 'ready' || lab.state === 'unreachable') &&
    lab.expires_at != null &&
    millis(lab.expires_at) - now < EXPIRY_NOTICE_SECONDS * 1000
  )
}

/** A failure that its owner has probably not seen yet. */
export function freshFailure(lab: Lab, now: number): boolean {
  return (
    lab.state === 'failed' &&
    lab.ended_at != null &&
    now - millis(lab.ended_at) < FRESH_FAILURE_SECONDS * 1000
  )
}

function rank(lab: Lab, now: number): number {
  if (freshFailure(lab, now)) return 0
  if (lab.state === 'unreachable') return 1
  if (expiring(lab, now)) return 2
  if (coming(lab)) return 3
  if (lab.state === 'ready') return 4
  return 5
}

/** Those that need attention first, then the newest. */
export function byAttention(labs: readonly Lab[], now: number): Lab[] {
  return [...labs].sort((a, b) => rank(a, now) - rank(b, now) || millis(b.created_at) - millis(a.created_at))
}

export function split(labs: readonly Lab[], now: number): { current: Lab[]; past: Lab[] } {
  const current = labs.filter((lab) => !ended(lab) || freshFailure(lab, now))
  const past = labs
    .filter((lab) => ended(lab) && !freshFailure(lab, now))
    .sort((a, b) => millis(b.ended_at ?? b.created_at) - millis(a.ended_at ?? a.created_at))
  return { current: byAttention(current, now), past }
}

/**
 * Keep an order while it is held (the pointer or the focus is inside the list): known ids stay where they were,
 * gone ones leave, new ones come last.
 */
export function held(previous: readonly string[], wanted: readonly string[]): string[] {
  const present = new Set(wanted)
  const kept = previous.filter((id) => present.has(id))
  const known = new Set(kept)
  return [...kept, ...wanted.filter((id) => !known.has(id))]
}
