import { expect, it } from 'vitest'
import { labsOfAda } from '../../../mock/labs'
import { history } from '../../../mock/observations'
import { fits, grouped, rowOf } from './rows'

const rows = history(labsOfAda()).map(rowOf)

it('reads entity, id and fact from the subject', () => {
  const row = rows.find((one) => one.entityId === 'k3v9x2mnpq')
  expect(row).toMatchObject({ entity: 'lab', owner: 'ada' })
  expect(row?.words).toContain('Length of day')
})

it('keeps what fits all filters', () => {
  const [row] = rows
  if (!row) throw new Error('no rows')
  expect(fits(row, {})).toBe(true)
  expect(fits(row, { entity: 'lab', owner: 'ada' })).toBe(true)
  expect(fits(row, { entity: 'volume' })).toBe(false)
})

it('makes one line of what repeats itself', () => {
  const [row, other] = rows
  if (!row || !other) throw new Error('no rows')
  const groups = grouped([row, { ...row, id: '2' }, { ...row, id: '3' }, other, row])
  expect(groups.map((group) => group.rest.length)).toEqual([2, 0, 0])
})
