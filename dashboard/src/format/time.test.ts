import { describe, expect, it } from 'vitest'
import { about, duration, left, relative } from './time'

const NOW = Date.parse('2026-11-22T12:00:00Z')
const ago = (seconds: number): string => new Date(NOW - seconds * 1000).toISOString()

describe('duration', () => {
  it.each([
    [0.00004, 'under 1 ms'],
    [0.0042, '4.2 ms'],
    [0.05, '50 ms'],
    [0.43, '0.4 s'],
    [9.96, '10 s'],
    [59.6, '1 min'],
    [192, '3 min 12 s'],
    [11_520, '3 h 12 min'],
    [187_200, '2 d 4 h'],
    [-1, '0 s'],
    [Number.NaN, '0 s'],
  ])('%d s is %s', (seconds, text) => {
    expect(duration(seconds)).toBe(text)
  })
})

describe('about', () => {
  it.each([
    [0.4, 'under 1 s'],
    [4.2, '~4 s'],
    [100, '~2 min'],
    [7_000, '~2 h'],
  ])('%d s is %s', (seconds, text) => {
    expect(about(seconds)).toBe(text)
  })
})

describe('relative', () => {
  it.each([
    [3, 'just now'],
    [42, '42 s ago'],
    [200, '3 min ago'],
    [7_300, '2 h ago'],
    [3 * 86_400, '3 d ago'],
    [-130, 'in 2 min'],
  ])('%d s ago is %s', (seconds, text) => {
    expect(relative(ago(seconds), NOW)).toBe(text)
  })

  it('names the day when it is long ago', () => {
    expect(relative(ago(30 * 86_400), NOW)).toBe('23 Oct')
    expect(relative(ago(400 * 86_400), NOW)).toBe('18 Oct 2025')
  })
})

describe('left', () => {
  it.each([
    [-11_520, '3 h 12 min left'],
    [-11_579, '3 h 12 min left'],
    [-660, '11 min left'],
    [-42, '42 s left'],
    [5, 'ending now'],
  ])('%d s past the end is %s', (seconds, text) => {
    expect(left(ago(seconds), NOW)).toBe(text)
  })
})
