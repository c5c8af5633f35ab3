import { describe, expect, it } from 'vitest'
import type { UsageRow } from '#/api/model'
import { csv, niceTop, ranking, spread } from './usage'

const DAY = 86_400_000
const FROM = new Date(2026, 10, 1).getTime()
const row = (fields: Partial<UsageRow>): UsageRow => ({
  labs: 1,
  seconds: 0,
  core_seconds: 0,
  gib_seconds: 0,
  ...fields,
})
const at = (milliseconds: number): string => new Date(FROM + milliseconds).toISOString()

describe('spread', () => {
  it('shares a lab that ran over midnight between both days', () => {
    const days = spread(
      [row({ datalab: 'gnss', core_seconds: 100, started_at: at(DAY * 0.75), ended_at: at(DAY * 1.75) })],
      FROM,
      FROM + 3 * DAY,
      'core_seconds',
      FROM + 3 * DAY,
    )
    expect(days.map((day) => Math.round(day.total))).toEqual([25, 75, 0])
  })

  it('counts a running lab up to now and loses nothing of a short one', () => {
    const now = FROM + 2 * DAY
    const days = spread(
      [
        row({ datalab: 'a', seconds: 60, started_at: at(DAY * 1.5), ended_at: null }),
        row({ datalab: 'b', seconds: 0.4, started_at: at(10), ended_at: at(10) }),
      ],
      FROM,
      FROM + 2 * DAY,
      'seconds',
      now,
    )
    expect(days[0]?.byDatalab.get('b')).toBe(0.4)
    expect(days[1]?.byDatalab.get('a')).toBeCloseTo(60)
  })

  it('ranks datalabs by what they used', () => {
    const days = spread(
      [
        row({ datalab: 'a', seconds: 1, started_at: at(0), ended_at: at(1000) }),
        row({ datalab: 'b', seconds: 5, started_at: at(DAY), ended_at: at(DAY + 5000) }),
      ],
      FROM,
      FROM + 2 * DAY,
      'seconds',
      FROM + 2 * DAY,
    )
    expect(ranking(days).map(({ name }) => name)).toEqual(['b', 'a'])
  })
})

it('niceTop is a round number above', () => {
  expect([0, 0.03, 1, 7, 13, 210].map(niceTop)).toEqual([1, 0.05, 1, 10, 20, 500])
})

it('csv quotes what must be quoted and defuses formulas', () => {
  expect(
    csv([row({ lab: 'k3v9x2mnpq', name: 'a "b", c', seconds: 1.5 }), row({ lab: 'x', name: '=1+1' })]),
  ).toBe(
    'lab,name,labs,seconds,core_seconds,gib_seconds\r\nk3v9x2mnpq,"a ""b"", c",1,1.5,0,0\r\nx,\'=1+1,1,0,0,0',
  )
})
