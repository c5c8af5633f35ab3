/** Spans as the rows of a waterfall: parents above children, in the order of their starts. */
import type { Span } from '#/api/model'

export interface Bar {
  span: Span
  depth: number
  /** Seconds after the first span's start. */
  start: number
  seconds: number
  /** Shares of the whole trace, 0 to 1. */
  from: number
  width: number
  /** Its parent is named and not among the spans. */
  orphan: boolean
}

export interface Waterfall {
  bars: Bar[]
  seconds: number
  services: string[]
}

export function waterfall(spans: readonly Span[]): Waterfall {
  if (spans.length === 0) return { bars: [], seconds: 0, services: [] }
  const known = new Set(spans.map((span) => span.span_id))
  const children = new Map<string | null, Span[]>()
  for (const span of spans) {
    const parent = span.parent_id && known.has(span.parent_id) ? span.parent_id : null
    children.set(parent, [...(children.get(parent) ?? []), span])
  }
  const first = Math.min(...spans.map((span) => span.start_ns))
  const last = Math.max(...spans.map((span) => span.end_ns))
  const whole = Math.max(1, last - first)
  const bars: Bar[] = []
  const placed = new Set<string>()
  const place = (parent: string | null, depth: number): void => {
    const siblings = [...(children.get(parent) ?? [])].sort((a, b) => a.start_ns - b.start_ns)
    for (const span of siblings) {
      // A span that is its own ancestor would never end.
      if (placed.has(span.span_id)) continue
      placed.add(span.span_id)
      bars.push({
        span,
        depth,
        start: (span.start_ns - first) / 1e9,
        seconds: (span.end_ns - span.start_ns) / 1e9,
        from: (span.start_ns - first) / whole,
        width: (span.end_ns - span.start_ns) / whole,
        orphan: span.parent_id != null && !known.has(span.parent_id),
      })
      place(span.span_id, depth + 1)
    }
  }
  place(null, 0)
  return { bars, seconds: whole / 1e9, services: [...new Set(bars.map((bar) => bar.span.service))] }
}
