import { expect, it } from 'vitest'
import type { Sample } from '#/api/model'
import { insert } from './samples'

const at = (second: number): Sample => ({
  lab_id: 'a',
  at: new Date(second * 1000).toISOString(),
  cores: second,
  memory_mib: 1,
  max_cores: 1,
  max_memory_mib: 1,
})

it('keeps samples in the order of their times, each once, the newest only', () => {
  const known = [at(1), at(3)]
  expect(insert(known, at(3))).toBe(known)
  expect(insert(known, at(2)).map((sample) => sample.cores)).toEqual([1, 2, 3])
  expect(insert(known, at(4), 2).map((sample) => sample.cores)).toEqual([3, 4])
})
