/** Labs of the mock platform in every state that a page must show. */
import type { Lab, LabState, Sample, Span, StoredEvent, Timeline, UsageRow } from '../src/api/model'
import { ago } from './catalogue.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
export const USUAL = {
  environment: 0.1,
  placing: 0.08,
  probing: 0.4,
  queued: 0.05,
  starting: 0.4,
  volumes: 0.2,
}

export function lab(fields: Partial<Lab> & { id: string; state: LabState; datalab: string }): Lab {
  const title = fields.datalab_title ?? fields.datalab
  return {
    name: title,
    owner: 'ada',
    datalab_title: title,
    version: '1.2',
    kind: 'notebook',
    runtime: 'process',
    size: 'small',
    cores: 0.5,
    memory_mib: 768,
    parameters: {},
    collections: ['iers', 'de421'],
    phase: '',
    reason: null,
    message: '',
    exit_code: null,
    signal: null,
    last_lines: [],
    progress: null,
    queue_position: null,
    attempt: 1,
    revision: 10,
    created_at: ago(2 * HOUR),
    started_at: null,
    ready_at: null,
    ended_at: null,
    expires_at: null,
    trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
    deleted: false,
    ...fields,
  }
}

function ahead(milliseconds: number): string {
  return new Date(Date.now() + milliseconds).toISOString()
}

export function labsOfAda(): Lab[] {
  return [
    lab({
      id: 'k3v9x2mnpq',
      datalab: 'jupyterlab',
      datalab_title: 'JupyterLab for astronomy',
      name: 'Length of day',
      state: 'ready',
      created_at: ago(3 * HOUR),
      started_at: ago(3 * HOUR - 900),
      ready_at: ago(3 * HOUR - 1400),
      expires_at: ahead(3 * HOUR + 12 * MINUTE),
    }),
    lab({
      id: 'm7wq4tbz5c',
      datalab: 'web-explorer',
      datalab_title: 'Sky explorer',
      name: 'Sky explorer',
      kind: 'web',
      state: 'ready',
      version: '1.0',
      size: 'medium',
      cores: 1,
      memory_mib: 2048,
      collections: ['bright-stars'],
      created_at: ago(26 * HOUR),
      started_at: ago(26 * HOUR - 900),
      ready_at: ago(26 * HOUR - 2400),
      expires_at: ahead(11 * MINUTE),
    }),
    lab({
      id: 'p2hd8rky6v',
      datalab: 'machine-learning',
      datalab_title: 'Machine learning',
      name: 'Galaxy shapes, second try with the larger training set and augmentations',
      state: 'starting',
      version: '1.0',
      size: 'large',
      cores: 2,
      memory_mib: 4096,
      collections: ['galaxies'],
      created_at: ago(2_500),
      started_at: ago(900),
      progress: {
        phase: 'starting',
        fraction: 0.4,
        text: 'Its program has started; waiting for its first answer',
      },
    }),
    lab({
      id: 'c5nf3gjx9e',
      datalab: 'gnss',
      datalab_title: 'GNSS and Earth rotation',
      name: 'GNSS and Earth rotation',
      state: 'queued',
      version: '1.0',
      size: 'large',
      cores: 2,
      memory_mib: 4096,
      created_at: ago(95_000),
      queue_position: 3,
      progress: { phase: 'queued', fraction: null, text: 'The cluster is full; you are 3rd, about 2 min' },
    }),
    lab({
      id: 'w8ye2sqt4h',
      datalab: 'report',
      datalab_title: 'Earth rotation report',
      name: 'Report 2025',
      kind: 'batch',
      state: 'failed',
      version: '1.0',
      reason: 'crashed',
      message: 'Its program ended with exit code 1 after 41 s.',
      exit_code: 1,
      created_at: ago(22 * MINUTE),
      started_at: ago(21 * MINUTE),
      ready_at: ago(21 * MINUTE),
      ended_at: ago(20 * MINUTE),
      last_lines: [
        '[NbConvertApp] Converting notebook report.ipynb to html',
        'Traceback (most recent call last):',
        '  File "/opt/report/report.py", line 41, in load',
        "FileNotFoundError: [Errno 2] No such file or directory: '/data/iers/finals2000A.all'",
      ],
    }),
    lab({
      id: 'b4zk7uwd3n',
      datalab: 'terminal',
      datalab_title: 'Terminal',
      name: 'Terminal',
      kind: 'web',
      state: 'unreachable',
      version: '1.0',
      created_at: ago(5 * HOUR),
      started_at: ago(5 * HOUR),
      ready_at: ago(5 * HOUR),
      expires_at: ahead(4 * HOUR),
      collections: [],
      message: 'Nothing has been heard of its machine for 40 s. It may well be running; your files are safe.',
    }),
    lab({
      id: 'e9tp5cxr2g',
      datalab: 'jupyterlab',
      datalab_title: 'JupyterLab for astronomy',
      name: 'Planets',
      state: 'stopped',
      reason: 'stopped_by_user',
      created_at: ago(2 * DAY),
      started_at: ago(2 * DAY),
      ready_at: ago(2 * DAY),
      ended_at: ago(2 * DAY - 3 * HOUR),
    }),
    lab({
      id: 'h6sv9fmb7k',
      datalab: 'machine-learning',
      datalab_title: 'Machine learning',
      name: 'Machine learning',
      state: 'failed',
      reason: 'out_of_memory',
      version: '1.0',
      message: 'It needed more than its 768 MiB of memory.',
      signal: 9,
      created_at: ago(4 * DAY),
      started_at: ago(4 * DAY),
      ready_at: ago(4 * DAY),
      ended_at: ago(4 * DAY - 2 * HOUR),
      last_lines: ['Epoch 7/40 loss 0.4312', 'Epoch 8/40 loss 0.4177', 'Killed'],
    }),
    lab({
      id: 'r3jx6wgh8d',
      datalab: 'report',
      datalab_title: 'Earth rotation report',
      name: 'Report 2024',
      kind: 'batch',
      state: 'stopped',
      reason: 'completed',
      version: '1.0',
      exit_code: 0,
      created_at: ago(6 * DAY),
      started_at: ago(6 * DAY),
      ready_at: ago(6 * DAY),
      ended_at: ago(6 * DAY - 40_000),
    }),
    lab({
      id: 'y7qc4nze5t',
      datalab: 'web-explorer',
      datalab_title: 'Sky explorer',
      name: 'Sky explorer',
      kind: 'web',
      state: 'stopped',
      reason: 'idle',
      version: '1.0',
      created_at: ago(9 * DAY),
      started_at: ago(9 * DAY),
      ready_at: ago(9 * DAY),
      ended_at: ago(9 * DAY - 5 * HOUR),
    }),
  ]
}

export function labsOfOthers(): Lab[] {
  return [
    lab({
      id: 'd2mk8vxy4p',
      owner: 'grace',
      datalab: 'jupyterlab',
      datalab_title: 'JupyterLab for astronomy',
      name: 'Spectra',
      state: 'ready',
      created_at: ago(40 * MINUTE),
      started_at: ago(40 * MINUTE),
      ready_at: ago(40 * MINUTE),
      expires_at: ahead(7 * HOUR),
      size: 'large',
      cores: 2,
      memory_mib: 4096,
    }),
    lab({
      id: 'g5hw3bnr9s',
      owner: 'vera',
      datalab: 'gnss',
      datalab_title: 'GNSS and Earth rotation',
      name: 'Station WTZR',
      state: 'ready',
      created_at: ago(4 * HOUR),
      started_at: ago(4 * HOUR),
      ready_at: ago(4 * HOUR),
      expires_at: ahead(2 * HOUR),
      size: 'medium',
      cores: 1,
      memory_mib: 2048,
    }),
    lab({
      id: 'q8uf6dzc7j',
      owner: 'henrietta',
      datalab: 'terminal',
      datalab_title: 'Terminal',
      name: 'Terminal',
      kind: 'web',
      state: 'stopping',
      created_at: ago(HOUR),
      started_at: ago(HOUR),
      ready_at: ago(HOUR),
      size: 'small',
    }),
  ]
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
  }
}

export function usageRows(by: string, from: number, to: number): UsageRow[] {
  const rows: UsageRow[] = []
  const kinds = ['jupyterlab', 'machine-learning', 'gnss', 'web-explorer', 'report']
  const sizes = [
    ['small', 0.5, 0.75],
    ['medium', 1, 2],
    ['large', 2, 4],
  ] as const
  for (let index = 0; index < 46; index += 1) {
    const started = Date.now() - index * 15.5 * HOUR - 3 * HOUR
    if (started < from || started > to) continue
    const seconds = 900 + ((index * 7919) % 23_000)
    const [size, cores, gib] = sizes[index % 3] ?? sizes[0]
    const datalab = kinds[(index * 3) % kinds.length] ?? 'jupyterlab'
    rows.push({
      labs: 1,
      seconds,
      core_seconds: seconds * cores,
      gib_seconds: seconds * gib,
      lab: ['k3v9x2mnpq', 'm7wq4tbz5c', 'e9tp5cxr2g', 'h6sv9fmb7k'][index % 4] ?? null,
      name: `${datalab} ${index}`,
      attempts: 1,
      running: index === 0,
      day: null,
      size,
      datalab,
      started_at: new Date(started).toISOString(),
      ended_at: index === 0 ? null : new Date(started + seconds * 1000).toISOString(),
    })
  }
  if (by === 'lab') return rows
  const groups = new Map<string, UsageRow>()
  for (const row of rows) {
    const key =
      by === 'day'
        ? (row.started_at ?? '').slice(0, 10)
        : by === 'size'
          ? (row.size ?? '')
          : (row.datalab ?? '')
    const group = groups.get(key) ?? {
      labs: 0,
      seconds: 0,
      core_seconds: 0,
      gib_seconds: 0,
      ...(by === 'day' ? { day: key } : by === 'size' ? { size: key } : { datalab: key }),
    }
    group.labs += 1
    group.seconds += row.seconds
    group.core_seconds += row.core_seconds
    group.gib_seconds += row.gib_seconds
    groups.set(key, group)
  }
  return [...groups.values()]
}

export function spans(traceId: string): Span[] {
  const base = BigInt(Date.now() - 20 * MINUTE) * 1_000_000n
  const rows: [string, string | null, string, string, number, number, string?][] = [
    ['a1', null, 'launch', 'dashboard', 0, 42],
    ['a2', 'a1', 'ingress', 'envoy', 3, 38],
    ['a3', 'a2', 'POST /api/v1/labs', 'gateway', 4, 37],
    ['a4', 'a3', 'send rpc.launcher.launch_lab', 'gateway', 6, 35],
    ['a5', 'a4', 'process rpc.launcher.launch_lab', 'launcher', 8, 34],
    ['a6', 'a5', 'process rpc.catalogue.get_specification', 'catalogue', 10, 15],
    ['a7', 'a5', 'process rpc.accounting.reserve', 'accounting', 16, 26],
    ['a8', 'a5', 'INSERT labs', 'launcher', 27, 31],
    ['b1', 'a5', 'queued', 'launcher', 34, 90],
    ['b2', 'a5', 'preparing', 'launcher', 90, 380],
    ['b3', 'b2', 'process rpc.storage.prepare_volumes', 'storage', 96, 310],
    ['b4', 'a5', 'starting', 'launcher', 380, 930],
    ['b5', 'b4', 'submit', 'launcher', 384, 402],
    ['b6', 'b4', 'shim', 'scheduler', 405, 470],
    ['b7', 'b4', 'lab process', 'lab', 470, 925],
    ['b8', 'a5', 'answering', 'launcher', 930, 1400],
    ['b9', 'b8', 'probe /api/status', 'launcher', 1310, 1330, 'error'],
    ['c1', 'b8', 'probe /api/status', 'launcher', 1385, 1398],
    ['c2', 'a1', 'first visit', 'envoy', 1450, 1520],
  ]
  return rows.map(([id, parent, name, service, from, to, status]) => ({
    trace_id: traceId,
    span_id: id.padEnd(16, '0'),
    parent_id: parent ? parent.padEnd(16, '0') : null,
    name,
    kind: 'internal',
    service,
    start_ns: Number(base + BigInt(from) * 1_000_000n),
    end_ns: Number(base + BigInt(to) * 1_000_000n),
    status: status ?? 'ok',
    status_message: status ? 'connection refused' : '',
    attributes: { 'lab.id': 'k3v9x2mnpq', 'messaging.system': 'nats' },
    events: [],
  }))
}

export function history(labs: Lab[]): StoredEvent[] {
  return labs
    .flatMap((item, index) =>
      ['queued', 'preparing', 'starting', item.state === 'failed' ? 'failed' : 'ready'].map((fact, step) => ({
        id: `${item.id}-${fact}`,
        type: `org.datalabs.lab.${fact}.v1`,
        subject: `events.lab.${item.id}.${fact}`,
        source: '/services/launcher',
        time: new Date(Date.parse(item.created_at) + step * 400).toISOString(),
        sequence: 4000 + index * 10 + step,
        trace_id: item.trace_id ?? null,
        data: { lab: item, revision: step + 1, owner: item.owner, actor: item.owner, detail: {} },
      })),
    )
    .sort((a, b) => (a.time < b.time ? 1 : -1))
}
