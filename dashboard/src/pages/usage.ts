/** The arithmetic of the usage page: rows of labs into days, days into bars, rows into CSV. */
import type { UsageRow } from '#/api/model'
import { millis } from '#/format/time'

export type Measure = 'core_seconds' | 'gib_seconds' | 'seconds'

export interface Day {
  /** Local midnight in milliseconds. */
  at: number
  byDatalab: Map<string, number>
  total: number
}

/**
 * Spread each lab's use over the days that it ran in, in the reader's zone, by the share of its time in each.
 * A lab with several attempts is spread over its whole time, since the row has only its first start and last end.
 */
export function spread(
  rows: readonly UsageRow[],
  from: number,
  to: number,
  measure: Measure,
  now: number,
): Day[] {
  const days = emptyDays(from, to)
  for (const row of rows) {
    if (!row.started_at) continue
    const start = Math.max(from, millis(row.started_at))
    const end = Math.min(to, row.ended_at ? millis(row.ended_at) : now)
    const length = Math.max(1, end - start)
    for (const [index, current] of days.entries()) {
      const until = days[index + 1]?.at ?? to
      const shared = Math.min(end, until) - Math.max(start, current.at)
      const whole = end <= start && start >= current.at && start < until
      if (shared <= 0 && !whole) continue
      const amount = row[measure] * (whole ? 1 : shared / length)
      const name = row.datalab ?? 'other'
      current.byDatalab.set(name, (current.byDatalab.get(name) ?? 0) + amount)
      current.total += amount
    }
  }
  return days
}

function emptyDays(from: number, to: number): Day[] {
  const days: Day[] = []
  const date = new Date(from)
  while (date.getTime() < to) {
    days.push({ at: date.getTime(), byDatalab: new Map(), total: 0 })
    // A calendar step, not 24 hours: two days a year are shorter or longer.
    date.setDate(date.getDate() + 1)
  }
  return days
}

/** Datalabs by what they used in all, the largest first. */
export function ranking(days: readonly Day[]): { name: string; total: number }[] {
  const totals = new Map<string, number>()
  for (const day of days) {
    for (const [name, amount] of day.byDatalab) totals.set(name, (totals.get(name) ?? 0) + amount)
  }
  return [...totals].map(([name, total]) => ({ name, total })).sort((a, b) => b.total - a.total)
}

/** A round number at or above a value: 1, 2 or 5 times a power of ten. */
export function niceTop(value: number): number {
  if (value <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  const step = [1, 2, 5, 10].find((candidate) => candidate * power >= value) ?? 10
  return step * power
}

const COLUMNS = [
  'lab',
  'name',
  'day',
  'datalab',
  'size',
  'attempts',
  'started_at',
  'ended_at',
  'labs',
  'seconds',
  'core_seconds',
  'gib_seconds',
] as const satisfies readonly (keyof UsageRow)[]

/** RFC 4180, with the columns that any row fills. A leading `=`, `+`, `-` or `@` is defused for spreadsheets. */
export function csv(rows: readonly UsageRow[]): string {
  const used = COLUMNS.filter((column) => rows.some((row) => row[column] != null))
  const line = (cells: readonly unknown[]): string => cells.map(cell).join(',')
  return [line(used), ...rows.map((row) => line(used.map((column) => row[column] ?? '')))].join('\r\n')
}

function cell(value: unknown): string {
  let text = String(value)
  if (typeof value === 'string' && /^[=+\-@\t\r]/.test(text)) text = `'${text}`
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
