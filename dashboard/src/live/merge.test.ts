import { describe, expect, it } from 'vitest'
import type { DatalabPage, Lab } from '#/api/model'
import { crowd, shipped } from '../../mock/catalogue'
import { lab } from '../../mock/labs'
import { mergeDatalab, mergeLab, mergeOne, mergeReadiness, newer, Revisions } from './merge'

const make = (id: string, revision: number, fields: Partial<Lab> = {}): Lab =>
  lab({
    id,
    state: 'ready',
    datalab: 'x',
    revision,
    created_at: `2026-11-22T12:00:0${id.length}Z`,
    ...fields,
  })

describe('mergeLab', () => {
  it('keeps the highest revision, whatever the order of arrival', () => {
    const facts = [1, 2, 3, 4, 5].map((revision) => make('a', revision, { message: `r${revision}` }))
    const shuffled = [3, 0, 4, 1, 4, 2, 3].map((index) => facts[index] as Lab)
    const end = shuffled.reduce<readonly Lab[]>(mergeLab, [])
    expect(end.map((one) => one.message)).toEqual(['r5'])
  })

  it('gives the same list back for old news, so that nobody renders for it', () => {
    const labs = [make('a', 5)]
    expect(mergeLab(labs, make('a', 5))).toBe(labs)
    expect(mergeLab(labs, make('a', 4))).toBe(labs)
  })

  it('adds a new lab where its time belongs and moves nothing else', () => {
    const labs = [make('aaaaa', 1), make('a', 1)]
    expect(mergeLab(labs, make('aaa', 1)).map((one) => one.id)).toEqual(['aaaaa', 'aaa', 'a'])
  })

  it('lets a deleted lab go', () => {
    const labs = [make('a', 5), make('aa', 1)]
    expect(mergeLab(labs, make('a', 6, { deleted: true })).map((one) => one.id)).toEqual(['aa'])
    expect(mergeLab(labs, make('unknown', 6, { deleted: true }))).toBe(labs)
  })
})

it('Revisions remembers what is gone, so that a late event brings nothing back', () => {
  const revisions = new Revisions()
  expect(revisions.news('lab/a', 6)).toBe(true)
  expect(revisions.news('lab/a', 5)).toBe(false)
  expect(revisions.news('lab/a', 6)).toBe(false)
  expect(revisions.news('lab/b', 1)).toBe(true)
})

it('newer takes the reading with the higher revision', () => {
  expect(newer(make('a', 2), make('a', 1)).revision).toBe(2)
  expect(newer(make('a', 2), make('a', 3)).revision).toBe(3)
  expect(newer(undefined, make('a', 1)).revision).toBe(1)
})

describe('the catalogue', () => {
  const page: DatalabPage = { items: shipped(), facets: {}, total: 6 }

  it('takes the readiness of the version on the card', () => {
    const next = mergeReadiness(page, {
      datalab: 'gnss',
      version: '1.0',
      state: 'ready',
      fraction: 1,
      text: '',
      revision: 99,
    })
    expect(next.items.find((item) => item.slug === 'gnss')?.readiness?.state).toBe('ready')
    expect(
      mergeReadiness(page, {
        datalab: 'gnss',
        version: '0.9',
        state: 'ready',
        fraction: 1,
        text: '',
        revision: 99,
      }),
    ).toBe(page)
    expect(
      mergeReadiness(page, {
        datalab: 'gnss',
        version: '1.0',
        state: 'failed',
        fraction: 1,
        text: '',
        revision: 1,
      }),
    ).toBe(page)
  })

  it('keeps the readiness of a card whose words changed', () => {
    const gnss = page.items.find((item) => item.slug === 'gnss')
    if (!gnss) throw new Error('no gnss')
    const next = mergeDatalab(page, { ...gnss, title: 'New', revision: 2, readiness: null })
    const changed = next.items.find((item) => item.slug === 'gnss')
    expect(changed?.title).toBe('New')
    expect(changed?.readiness).toEqual(gnss.readiness)
    expect(mergeDatalab(page, { ...gnss, title: 'Old', revision: 1 })).toBe(page)
  })

  it('mergeOne adds only when asked', () => {
    const items = crowd().slice(0, 2)
    const other = { ...crowd()[5] } as (typeof items)[number]
    expect(mergeOne(items, other, (item) => item.slug === other.slug)).toBe(items)
    expect(mergeOne(items, other, (item) => item.slug === other.slug, true)).toHaveLength(3)
  })
})
