import { expect, it } from 'vitest'
import { lab } from '../../mock/labs'
import { noticeOf } from './notices'

const one = lab({ id: 'a', state: 'ready', datalab: 'x', name: 'Planets' })

it('tells what a person cannot know by themselves', () => {
  expect(noticeOf('ready', one, {})?.title).toBe('Planets is ready')
  expect(noticeOf('expiring', one, { minutes: 5, reason: 'idle' })?.title).toBe('Planets ends in 5 min')
  expect(noticeOf('failed', { ...one, state: 'failed', reason: 'out_of_memory' }, {})?.text).toContain(
    'more memory',
  )
})

it('does not tell what they did themselves', () => {
  expect(noticeOf('stopped', { ...one, reason: 'stopped_by_user' }, {})).toBeNull()
  expect(noticeOf('progressed', one, {})).toBeNull()
})
