/** Where the page stands between a person and their desktop, and what it says of it. */
import type { Lab } from '#/api/model'
import { advice, ended, REASONS, STATES } from '#/labs/states'

export type Stage =
  | { name: 'looking' }
  | { name: 'connecting'; again: boolean }
  | { name: 'connected' }
  | { name: 'broken'; attempt: number; nextAt: number }
  | { name: 'waiting' }
  | { name: 'ended' }
  | { name: 'shut-out' }
  | { name: 'password' }
  | { name: 'refused'; text: string }

export type Tone = 'wait' | 'move' | 'good' | 'warn' | 'rest' | 'bad'

export interface Words {
  /** One word for the bar. */
  word: string
  tone: Tone
  title: string
  text: string
  action?: 'again' | 'page' | 'open' | 'password'
}

/** Milliseconds before each attempt; a lab's desktop answers within a second of its return. */
const PAUSES = [250, 500, 1_000, 2_000, 4_000]
const LONGEST = 8_000

export function pauseBefore(attempt: number): number {
  return PAUSES[attempt - 1] ?? LONGEST
}

/** Where a lab's state leads, before any connection is tried. */
export function stageOf(lab: Lab): 'ended' | 'waiting' | 'connectable' {
  if (lab.deleted || ended(lab) || lab.state === 'stopping') return 'ended'
  return lab.state === 'ready' || lab.state === 'unreachable' ? 'connectable' : 'waiting'
}

const SAFE = 'Your files are safe in your home.'

export function words(stage: Stage, lab: Lab | null): Words {
  switch (stage.name) {
    case 'looking':
      return { word: 'Opening', tone: 'move', title: 'Opening the desktop', text: '' }
    case 'connecting':
      return stage.again
        ? {
            word: 'Reconnecting',
            tone: 'warn',
            title: 'Connecting again',
            text: 'Your programs go on running.',
          }
        : { word: 'Connecting', tone: 'move', title: 'Connecting to the desktop', text: '' }
    case 'connected':
      return { word: 'Connected', tone: 'good', title: 'Connected', text: '' }
    case 'broken':
      return {
        word: 'Reconnecting',
        tone: 'warn',
        title: 'The connection to the desktop broke',
        text:
          lab?.state === 'unreachable'
            ? 'Nothing is heard of its machine. Your programs may well be running; this page tries on.'
            : 'Your programs go on running. This page connects again by itself.',
        action: 'again',
      }
    case 'waiting':
      return {
        word: lab ? STATES[lab.state].word : 'Waiting',
        tone: 'wait',
        title: 'The desktop is not ready yet',
        text: lab?.progress?.text || 'This page connects as soon as it answers.',
        action: 'page',
      }
    case 'ended':
      return endedWords(lab)
    case 'shut-out':
      return {
        word: 'Not let in',
        tone: 'bad',
        title: 'This browser is no longer let in',
        text: 'You signed out, or it was too long ago. The desktop goes on running; open it again from your labs.',
        action: 'open',
      }
    case 'password':
      return {
        word: 'Password',
        tone: 'wait',
        title: 'This desktop asks for a password',
        text: 'It was set by whoever made the datalab.',
        action: 'password',
      }
    case 'refused':
      return {
        word: 'Refused',
        tone: 'bad',
        title: 'The desktop refused the connection',
        text: `${stage.text || 'It gave no reason.'} Your programs go on running.`,
        action: 'again',
      }
  }
}

function endedWords(lab: Lab | null): Words {
  if (lab?.state === 'stopping')
    return { word: 'Stopping', tone: 'rest', title: 'This lab is being stopped', text: SAFE, action: 'page' }
  const failed = lab?.state === 'failed'
  const why = lab?.message || (lab?.reason ? REASONS[lab.reason] : '')
  return {
    word: failed ? 'Failed' : 'Ended',
    tone: failed ? 'bad' : 'rest',
    title: failed ? 'This lab has failed' : 'This lab has ended',
    text: [why, SAFE, lab ? advice(lab) : ''].filter(Boolean).join(' '),
    action: 'page',
  }
}
