/** The ledger of the mock platform. */
import type { UsageRow } from '../src/api/model'
import { HOUR } from './times.ts'

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
