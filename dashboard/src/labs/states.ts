/** The words of the API for states and reasons, in the reader's terms. */
import type { Lab, LabState, Reason } from '#/api/model'

/** The colour family of a state; the theme gives each its ink and its wash. */
export type Tone = 'wait' | 'move' | 'good' | 'warn' | 'rest' | 'bad'

export const STATES: Record<LabState, { word: string; tone: Tone }> = {
  queued: { word: 'Queued', tone: 'wait' },
  preparing: { word: 'Preparing', tone: 'move' },
  starting: { word: 'Starting', tone: 'move' },
  ready: { word: 'Ready', tone: 'good' },
  unreachable: { word: 'Unreachable', tone: 'warn' },
  stopping: { word: 'Stopping', tone: 'rest' },
  stopped: { word: 'Stopped', tone: 'rest' },
  failed: { word: 'Failed', tone: 'bad' },
}

export const REASONS: Record<Reason, string> = {
  completed: 'It finished its work.',
  stopped_by_user: 'You stopped it.',
  stopped_by_operator: 'An operator stopped it.',
  idle: 'Nobody had used it for a while.',
  expired: 'Its time was over.',
  quota_exceeded: 'It would have exceeded your limits.',
  no_capacity: 'The cluster had no room for it.',
  image_unavailable: 'Its software could not be made ready.',
  volume_unavailable: 'Its files could not be mounted.',
  start_timeout: 'It did not answer in time after its start.',
  out_of_memory: 'It needed more memory than its size allows.',
  disk_full: 'Its disk was full.',
  pids_exceeded: 'It started more programs than a lab may.',
  crashed: 'Its program ended by itself, against the intent.',
  node_lost: 'The machine it ran on was lost.',
  preempted: 'It had to make room.',
  launcher_error: 'The platform could not start it.',
}

/** What the reader can do now about a lab that ended so. */
export function advice(lab: Pick<Lab, 'state' | 'reason' | 'kind'>): string {
  switch (lab.reason) {
    case 'out_of_memory':
      return 'Restart it in a larger size.'
    case 'start_timeout':
      return 'Try again, or choose a larger size.'
    case 'crashed':
      return 'Its last lines say why; restart it when the cause is gone.'
    case 'disk_full':
      return 'Remove files that you no longer need, then restart it.'
    case 'pids_exceeded':
      return 'Restart it and run fewer programs at once.'
    case 'node_lost':
    case 'preempted':
    case 'no_capacity':
    case 'launcher_error':
    case 'image_unavailable':
    case 'volume_unavailable':
      return 'Restart it; if it fails again, ask an operator and name the lab’s id.'
    case 'quota_exceeded':
      return 'Stop a lab that you no longer need, or choose a smaller size.'
    default:
      return lab.state === 'failed' ? 'Restart it to try again.' : ''
  }
}

export const ENDED: ReadonlySet<LabState> = new Set<LabState>(['stopped', 'failed'])
export const COMING: ReadonlySet<LabState> = new Set<LabState>(['queued', 'preparing', 'starting'])
/** States in which resources are held and samples may come. */
export const LIVE: ReadonlySet<LabState> = new Set<LabState>(['starting', 'ready', 'unreachable', 'stopping'])

export function ended(lab: Pick<Lab, 'state'>): boolean {
  return ENDED.has(lab.state)
}

export function coming(lab: Pick<Lab, 'state'>): boolean {
  return COMING.has(lab.state)
}

/** Whether it holds resources for somebody to use. */
export function running(lab: Pick<Lab, 'state'>): boolean {
  return lab.state === 'ready' || lab.state === 'unreachable'
}

export function canOpen(lab: Pick<Lab, 'state' | 'kind'>): boolean {
  return lab.state === 'ready' && lab.kind !== 'batch'
}

/** What the lab is doing, in one sentence for its card and for the live region. */
export function sentence(lab: Lab): string {
  if (lab.state === 'queued') return lab.progress?.text || lab.message || 'Waiting for its turn'
  if (coming(lab)) return lab.progress?.text || lab.message || STATES[lab.state].word
  if (lab.state === 'unreachable') {
    return lab.message || 'Nothing is heard of its machine. It may well be running; your files are safe.'
  }
  if (lab.state === 'stopping') return lab.message || 'Ending its programs'
  if (ended(lab)) return lab.message || (lab.reason ? REASONS[lab.reason] : '')
  if (lab.kind === 'batch') return lab.progress?.text || 'Working'
  return ''
}
