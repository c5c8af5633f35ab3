import type { Lab, WaitReason } from '#/api/model'
import { millis } from '#/format/time'

/** Seconds until a queued lab may get its turn, judged by past runs; null when nothing is known. */
export function waitingSeconds(lab: Pick<Lab, 'expected_start_at'>, now: number): number | null {
  return lab.expected_start_at ? (millis(lab.expected_start_at) - now) / 1000 : null
}

/** Why a lab waits, as a heading; the sentence beside it has the numbers. */
export const WAITS: Record<WaitReason, string> = {
  capacity: 'No room',
  own_limit: 'Own limit',
  reserved: 'A machine is being freed',
  no_machine: 'No such machine now',
  cluster_away: 'Cluster away',
  accounting_away: 'Accounting away',
  turn: 'Its turn comes',
}
