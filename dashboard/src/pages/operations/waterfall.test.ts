import { expect, it } from 'vitest'
import { spans } from '../../../mock/observations'
import { waterfall } from './waterfall'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'

it('puts children below their parents, in the order of their starts', () => {
  const { bars, services } = waterfall([...spans(TRACE)].reverse())
  expect(bars[0]?.span.name).toBe('launch')
  expect(bars.map((bar) => bar.depth).slice(0, 6)).toEqual([0, 1, 2, 3, 4, 5])
  expect(bars).toHaveLength(spans(TRACE).length)
  expect(services[0]).toBe('dashboard')
  expect(Math.max(...bars.map((bar) => bar.from + bar.width))).toBeCloseTo(1)
})

it('marks a span whose parent has not come and survives a circle', () => {
  const [first, second] = spans(TRACE)
  if (!first || !second) throw new Error('no spans')
  const lost = waterfall([{ ...second, parent_id: 'ffffffffffffffff' }])
  expect(lost.bars[0]?.orphan).toBe(true)
  expect(
    waterfall([
      { ...first, parent_id: second.span_id },
      { ...second, parent_id: first.span_id },
    ]).bars,
  ).toEqual([])
  expect(waterfall([]).bars).toEqual([])
})
