import { describe, expect, it } from 'vitest'
import type { Lab, Timeline } from '#/api/model'
import { consistent, phaseWord, remaining, segments } from './phases'

const START = Date.parse('2026-11-22T12:00:00Z')
const at = (seconds: number): string => new Date(START + seconds * 1000).toISOString()
const USUAL = { environment: 0.1, placing: 0.1, probing: 0.4, queued: 0.05, starting: 0.5, volumes: 0.2 }

function timeline(phases: [string, number, number | null][], usual: Timeline['usual'] = USUAL): Timeline {
  return {
    lab_id: 'k3v9x2mnpq',
    attempt: 1,
    trace_id: null,
    seconds: 0,
    usual,
    phases: phases.map(([name, from, to]) => ({
      name,
      started_at: at(from),
      ended_at: to === null ? null : at(to),
      seconds: (to ?? from) - from,
      text: '',
      steps: [],
    })),
  }
}

describe('segments', () => {
  it('shows what is done, what runs and what is still to come, in the order of a launch', () => {
    const parts = segments(
      timeline([
        ['queued', 0, 0.05],
        ['volumes', 0.05, null],
      ]),
      START + 150,
      false,
    )
    expect(parts.map((part) => [part.name, part.state])).toEqual([
      ['queued', 'done'],
      ['volumes', 'now'],
      ['environment', 'ahead'],
      ['placing', 'ahead'],
      ['starting', 'ahead'],
      ['probing', 'ahead'],
    ])
    expect(parts[1]?.seconds).toBeCloseTo(0.1)
    expect(parts[1]?.fill).toBeCloseTo(0.5)
  })

  it('fills the whole bar, whatever the times are', () => {
    const parts = segments(
      timeline([
        ['queued', 0, 0.001],
        ['volumes', 0.001, 900],
      ]),
      START,
      false,
    )
    expect(parts.reduce((sum, part) => sum + part.share, 0)).toBeCloseTo(1)
    expect(Math.min(...parts.map((part) => part.share))).toBeGreaterThan(0.02)
  })

  it('never claims that a running phase is full', () => {
    const parts = segments(timeline([['starting', 0, null]]), START + 60_000, false)
    expect(parts.find((part) => part.name === 'starting')?.fill).toBe(0.95)
  })

  it('does not promise phases that were skipped', () => {
    const names = segments(
      timeline([
        ['queued', 0, 0.1],
        ['starting', 0.1, null],
      ]),
      START,
      false,
    ).map((part) => part.name)
    expect(names).toEqual(['queued', 'starting', 'probing'])
  })

  it('shows only what happened once it is over', () => {
    const parts = segments(
      timeline([
        ['queued', 0, 0.1],
        ['volumes', 0.1, null],
      ]),
      START + 9_000,
      true,
    )
    expect(parts.map((part) => part.state)).toEqual(['done', 'done'])
  })

  it('does with nothing', () => {
    expect(segments(timeline([], {}), START, false)).toEqual([])
  })
})

describe('remaining', () => {
  it('adds what is usual and has not been', () => {
    const parts = segments(
      timeline([
        ['queued', 0, 0.05],
        ['volumes', 0.05, null],
      ]),
      START + 150,
      false,
    )
    expect(remaining(parts)).toBeCloseTo(0.1 + 0.1 + 0.1 + 0.5 + 0.4)
  })

  it('does not guess without a usual time', () => {
    expect(remaining(segments(timeline([['queued', 0, null]], {}), START, false))).toBeNull()
  })
})

it('names unknown phases by their own words', () => {
  expect(phaseWord('environment')).toBe('Software')
  expect(phaseWord('warming_up')).toBe('Warming up')
})

describe('consistent', () => {
  const read = timeline([
    ['queued', 0, 0.05],
    ['starting', 0.05, null],
  ])
  const lab = (fields: Partial<Lab>): Lab => ({ attempt: 1, state: 'starting', ...fields }) as Lab

  it('leaves a launch that goes on as it was read', () => {
    expect(consistent(read, lab({}))).toBe(read)
  })

  it('ends what was under way when the lab became ready, before the timeline is read again', () => {
    const shown = consistent(read, lab({ state: 'ready', ready_at: at(1.25) }))
    expect(shown?.seconds).toBeCloseTo(1.25)
    expect(shown?.phases.map((phase) => phase.seconds)).toEqual([0.05, 1.2])
    expect(segments(shown ?? read, START + 60_000, true).map((part) => part.state)).toEqual(['done', 'done'])
  })

  it('ends it with the lab when it never became ready', () => {
    expect(consistent(read, lab({ state: 'failed', ended_at: at(3) }))?.seconds).toBeCloseTo(3)
  })

  it('knows nothing of an attempt that it was not read for', () => {
    expect(consistent(read, lab({ attempt: 2 }))).toBeUndefined()
    expect(consistent(undefined, lab({}))).toBeUndefined()
  })
})
