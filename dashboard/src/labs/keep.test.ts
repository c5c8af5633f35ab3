import { describe, expect, it } from 'vitest'
import { keepChoices } from './keep'

describe('keepChoices', () => {
  const at = (hours: number): number => new Date(2026, 10, 22, hours).getTime()

  it('offers tonight, a day and three days', () => {
    const choices = keepChoices(at(12))
    expect(choices.map((choice) => choice.title)).toEqual(['until 22:00', 'for 24 hours', 'for 3 days'])
    expect(Date.parse(choices[0]?.until ?? '')).toBe(at(22))
    expect(Date.parse(choices[2]?.until ?? '') - at(12)).toBe(72 * 3_600_000)
  })

  it('does not offer an evening that has come', () => {
    expect(keepChoices(at(21))[0]?.title).toBe('for 24 hours')
  })
})
