import { describe, expect, it } from 'vitest'
import type { Lab } from '#/api/model'
import { lab as make } from '../mock/labs'
import { pauseBefore, stageOf, words } from './stages'

const lab = (fields: Partial<Lab>): Lab =>
  make({ id: 'd4rw7skn2v', datalab: 'topcat', kind: 'desktop', state: 'ready', ...fields })

describe('stageOf', () => {
  it('connects to what may be there, waits for what comes, and lets go of what ends', () => {
    expect(stageOf(lab({ state: 'ready' }))).toBe('connectable')
    expect(stageOf(lab({ state: 'unreachable' }))).toBe('connectable')
    for (const state of ['queued', 'preparing', 'starting'] as const)
      expect(stageOf(lab({ state }))).toBe('waiting')
    for (const state of ['stopping', 'stopped', 'failed'] as const)
      expect(stageOf(lab({ state }))).toBe('ended')
    expect(stageOf(lab({ deleted: true }))).toBe('ended')
  })
})

describe('pauseBefore', () => {
  it('grows to a bound', () => {
    expect([1, 2, 3, 4, 5, 6, 60].map(pauseBefore)).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 8_000])
  })
})

describe('words', () => {
  it('says that nothing is lost while it connects again', () => {
    expect(words({ name: 'broken', attempt: 2, nextAt: 0 }, lab({})).text).toContain('go on running')
    expect(words({ name: 'broken', attempt: 2, nextAt: 0 }, lab({ state: 'unreachable' })).text).toContain(
      'may well',
    )
  })

  it('tells an end with its reason and what to do', () => {
    const told = words({ name: 'ended' }, lab({ state: 'failed', reason: 'out_of_memory', message: '' }))
    expect(told).toMatchObject({ word: 'Failed', tone: 'bad', action: 'page' })
    expect(told.text).toBe(
      'It needed more memory than its size allows. Your files are safe in your home. Restart it in a larger size.',
    )
    expect(words({ name: 'ended' }, null)).toMatchObject({ word: 'Ended', tone: 'rest' })
    expect(words({ name: 'ended' }, lab({ state: 'stopping' })).title).toBe('This lab is being stopped')
  })

  it('leads whoever is shut out to where one is let in', () => {
    expect(words({ name: 'shut-out' }, lab({})).action).toBe('open')
  })
})
