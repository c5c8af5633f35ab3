/** What labs of the mock platform tell of themselves: timeline, log, measurements. */
import type { Lab, LabState, Sample, Timeline } from '../src/api/model'

export const USUAL = {
  environment: 0.1,
  placing: 0.08,
  probing: 0.4,
  queued: 0.05,
  starting: 0.4,
  volumes: 0.2,
}

const PHASES: [string, number, number, string][] = [
  ['queued', 0, 60, 'Waiting for its turn'],
  ['volumes', 60, 290, 'Making your files ready'],
  ['environment', 290, 380, 'Making the software ready'],
  ['placing', 380, 450, 'Finding a place to run'],
  ['starting', 450, 930, 'Starting'],
  ['probing', 930, 1400, 'Waiting for the application to answer'],
]
const REACHED: Partial<Record<LabState, number>> = { queued: 0, preparing: 1, starting: 4 }

export function timelineOf(item: Lab): Timeline {
  const start = Date.parse(item.created_at)
  const now = Date.now() - start
  const last = REACHED[item.state] ?? PHASES.length
  const phases = PHASES.slice(0, last + 1).map(([name, from, to, text], index) => {
    const running = index === last
    const step = {
      name: 'shim',
      started_at: new Date(start + from).toISOString(),
      ended_at: new Date(start + from + 65).toISOString(),
      seconds: 0.065,
      text: 'The namespaces were made',
      steps: [],
    }
    return {
      name,
      started_at: new Date(start + from).toISOString(),
      ended_at: running ? null : new Date(start + to).toISOString(),
      seconds: ((running ? now : to) - from) / 1000,
      text: running ? (item.progress?.text ?? text) : text,
      steps: name === 'starting' ? [step] : [],
    }
  })
  return {
    lab_id: item.id,
    attempt: item.attempt,
    trace_id: item.trace_id ?? null,
    seconds: last < PHASES.length ? now / 1000 : 1.4,
    phases,
    usual: USUAL,
  }
}

export function logOf(item: Lab): string[] {
  if (item.state === 'queued' || item.state === 'preparing') return []
  const lines = Array.from({ length: 60 }, (_, index) => {
    const time = new Date(Date.parse(item.created_at) + index * 800).toISOString().slice(11, 23)
    return `[I ${time} ServerApp] ${['200 GET /api/kernels', 'Kernel started: 7f1c2a', '200 GET /api/contents/earth-rotation.ipynb', 'Saving file at /earth-rotation.ipynb'][index % 4]} ${index}`
  })
  return item.state === 'failed' ? [...lines, ...(item.last_lines ?? [])] : lines
}

let phase = 0
export function sampleOf(item: Lab, at = Date.now()): Sample {
  phase = at / 20_000 + item.id.charCodeAt(0)
  const busy = (Math.sin(phase) + Math.sin(phase * 2.7) + 2) / 4
  return {
    lab_id: item.id,
    at: new Date(at).toISOString(),
    cores: Number((item.cores * (0.06 + busy * 0.8)).toFixed(3)),
    memory_mib: Math.round(item.memory_mib * (0.32 + 0.18 * Math.sin(phase / 4) + busy * 0.05)),
    max_cores: item.cores,
    max_memory_mib: item.memory_mib,
    disk_mib: Math.round(180 + 90 * Math.sin(phase / 9) + ((at / 60_000) % 60)),
    max_disk_mib: item.disk_mib,
    received_bytes: Math.round(at * 40 + 2e6 * Math.sin(phase)),
    sent_bytes: Math.round(at * 12 + 4e5 * Math.sin(phase * 1.7)),
  }
}
