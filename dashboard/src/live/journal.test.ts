import { expect, it } from 'vitest'
import { lab } from '../../mock/labs'
import { Journal } from './journal'

it('tells what came after a mark, and nothing of before', () => {
  const journal = new Journal()
  journal.add(lab({ id: 'a', state: 'ready', datalab: 'x' }))
  const mark = journal.mark()
  journal.add(lab({ id: 'b', state: 'ready', datalab: 'x' }))
  expect(journal.since(mark).map((one) => one.id)).toEqual(['b'])
  for (let index = 0; index < 3_000; index += 1) journal.add(lab({ id: 'c', state: 'ready', datalab: 'x' }))
  expect(journal.since(mark).length).toBeLessThan(1_100)
})
