import { describe, expect, it } from 'vitest'
import type { Lab } from '#/api/model'
import { lab } from '../../mock/labs'
import { byAttention, expiring, held, split } from './order'

const NOW = Date.parse('2026-11-22T12:00:00Z')
const at = (minutes: number): string => new Date(NOW + minutes * 60_000).toISOString()
const make = (id: string, fields: Partial<Lab>): Lab =>
  lab({ id, state: 'ready', datalab: 'x', created_at: at(-60), ...fields })

describe('byAttention', () => {
  it('puts what needs somebody before what only runs', () => {
    const labs = [
      make('ready', {}),
      make('stopping', { state: 'stopping' }),
      make('coming', { state: 'starting' }),
      make('expiring', { expires_at: at(10) }),
      make('unreachable', { state: 'unreachable' }),
      make('failed', { state: 'failed', ended_at: at(-5) }),
    ]
    expect(byAttention(labs, NOW).map((one) => one.id)).toEqual([
      'failed',
      'unreachable',
      'expiring',
      'coming',
      'ready',
      'stopping',
    ])
  })

  it('puts the newest first among equals', () => {
    const labs = [make('old', { created_at: at(-90) }), make('new', { created_at: at(-10) })]
    expect(byAttention(labs, NOW).map((one) => one.id)).toEqual(['new', 'old'])
  })
})

describe('split', () => {
  it('keeps a fresh failure in sight and folds an old one', () => {
    const { current, past } = split(
      [
        make('fresh', { state: 'failed', ended_at: at(-5) }),
        make('old', { state: 'failed', ended_at: at(-300) }),
      ],
      NOW,
    )
    expect(current.map((one) => one.id)).toEqual(['fresh'])
    expect(past.map((one) => one.id)).toEqual(['old'])
  })
})

describe('held', () => {
  it('moves nothing, drops what is gone and adds what is new at the end', () => {
    expect(held(['a', 'b', 'c'], ['new', 'c', 'a'])).toEqual(['a', 'c', 'new'])
  })
})

it('says that an end is near only for what runs', () => {
  expect(expiring(make('a', { expires_at: at(14) }), NOW)).toBe(true)
  expect(expiring(make('a', { expires_at: at(16) }), NOW)).toBe(false)
  expect(expiring(make('a', { state: 'stopped', expires_at: at(1) }), NOW)).toBe(false)
})
