import { describe, expect, it } from 'vitest'
import type { Sample } from '#/api/model'
import { rates } from './rates'

const START = Date.parse('2026-11-22T12:00:00Z')
const sample = (seconds: number, received: number | null): Sample =>
  ({ at: new Date(START + seconds * 1000).toISOString(), received_bytes: received }) as Sample
const of = (one: Sample) => one.received_bytes

describe('rates', () => {
  it('makes bytes per second of a count', () => {
    expect(
      rates([sample(0, 0), sample(5, 5_000), sample(10, 5_000)], of).map((point) => point.value),
    ).toEqual([1_000, 0])
  })

  it('says nothing across a fall, a gap or one moment', () => {
    expect(
      rates([sample(0, 9_000), sample(5, 10), sample(10, null), sample(15, 30), sample(15, 60)], of),
    ).toEqual([])
    expect(rates([sample(0, 1)], of)).toEqual([])
  })
})
