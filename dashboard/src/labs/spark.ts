/** How many points a sparkline shows; the newest stands at its right end from the first sample on. */
const POINTS = 60

/** SVG paths in a box of 100 × 24, the newest value at the right. */
export function sparkPath(values: readonly number[], max: number): { line: string; area: string } {
  const shown = values.slice(-POINTS)
  if (shown.length === 0) return { line: '', area: '' }
  const step = 100 / (POINTS - 1)
  const left = 100 - (shown.length - 1) * step
  const points = shown.map((value, index) => {
    const share = max > 0 ? Math.min(1, Math.max(0, value / max)) : 0
    return `${(left + index * step).toFixed(2)},${(23 - share * 21).toFixed(2)}`
  })
  const line = `M${points.join('L')}`
  return { line, area: `${line}L100,24L${left.toFixed(2)},24Z` }
}
