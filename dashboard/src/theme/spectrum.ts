/**
 * A datalab's own spectrum: lines whose places follow from its name alone, so that the same entry looks the same
 * everywhere and two entries can be told apart at a glance. By day absorption lines, by night emission lines.
 */
export interface Line {
  /** Place from violet (0) to red (1). */
  at: number
  /** Width in thousandths of the strip. */
  width: number
  /** 0 to 1. */
  strength: number
}

/** FNV-1a with a final mix, so that `gnss` and `gnss2` differ in every line. */
function seed(text: string): number {
  let hash = 0x811c9dc5
  for (const character of text) {
    hash ^= character.codePointAt(0) ?? 0
    hash = Math.imul(hash, 0x01000193)
  }
  hash ^= hash >>> 15
  return hash >>> 0
}

/** Mulberry32. */
function* numbers(start: number): Generator<number, never> {
  let state = start
  for (;;) {
    state = (state + 0x6d2b79f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    yield ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

export function lines(name: string, count = 17): Line[] {
  const next = numbers(seed(name))
  const draw = (): number => next.next().value
  return Array.from({ length: count }, () => ({
    at: draw(),
    width: 2 + draw() ** 3 * 14,
    strength: 0.25 + draw() * 0.75,
  })).sort((a, b) => a.at - b.at)
}

/** The colour of a place in the strip, violet to red. */
export function hue(at: number): string {
  const stops: [number, number, number, number][] = [
    [0, 250, 60, 62],
    [0.22, 212, 80, 56],
    [0.42, 172, 70, 45],
    [0.6, 120, 45, 48],
    [0.74, 45, 85, 52],
    [0.87, 20, 85, 56],
    [1, 350, 75, 52],
  ]
  for (let index = 1; index < stops.length; index += 1) {
    const from = stops[index - 1]
    const to = stops[index]
    if (from && to && at <= to[0]) {
      const part = (at - from[0]) / (to[0] - from[0])
      const turn = to[1] > from[1] ? to[1] - 360 : to[1]
      const degrees = (from[1] + (turn - from[1]) * part + 360) % 360
      return `hsl(${degrees.toFixed(0)} ${(from[2] + (to[2] - from[2]) * part).toFixed(0)}% ${(from[3] + (to[3] - from[3]) * part).toFixed(0)}%)`
    }
  }
  return 'hsl(350 75% 52%)'
}
