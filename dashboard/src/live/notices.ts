/** What is worth telling a person who may be looking at another page. */
import type { Lab } from '#/api/model'
import { REASONS } from '#/labs/states'

export interface Notice {
  id: string
  tone: 'good' | 'warn' | 'bad' | 'rest'
  title: string
  text: string
  labId: string
  at: number
  /** Its lab can be kept by extending it. */
  extendable?: boolean
}

/** The notice of a fact about one's own lab, or null when the page itself says enough. */
export function noticeOf(
  fact: string,
  lab: Lab,
  detail: Record<string, unknown>,
  at: number = Date.now(),
): Notice | null {
  const id = `${lab.id}/${lab.attempt}/${fact}/${String(detail.minutes ?? '')}`
  const base = { id, labId: lab.id, at }
  switch (fact) {
    case 'ready':
      return { ...base, tone: 'good', title: `${lab.name} is ready`, text: '' }
    case 'failed':
      return {
        ...base,
        tone: 'bad',
        title: `${lab.name} failed`,
        text: lab.message || (lab.reason ? REASONS[lab.reason] : ''),
      }
    case 'unreachable':
      return {
        ...base,
        tone: 'warn',
        title: `${lab.name} is unreachable`,
        text: 'Nothing is heard of its machine. It may well be running; your files are safe.',
      }
    case 'expiring': {
      const minutes = Number(detail.minutes ?? 0)
      const why = detail.reason === 'idle' ? 'nobody has used it for a while' : 'its time is nearly over'
      return {
        ...base,
        extendable: true,
        tone: 'warn',
        title: `${lab.name} ends in ${minutes || 'a few'} min`,
        text: `It ends because ${why}. Extend it to go on.`,
      }
    }
    case 'stopped':
      if (lab.reason === 'stopped_by_user') return null
      return {
        ...base,
        tone: lab.reason === 'completed' ? 'good' : 'rest',
        title: lab.reason === 'completed' ? `${lab.name} has finished` : `${lab.name} was stopped`,
        text: lab.reason ? REASONS[lab.reason] : '',
      }
    default:
      return null
  }
}
