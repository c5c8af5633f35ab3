/** The gateway's answers on the lab's own origin: the lab as it is, what happens to it, and more time for it. */
import type { Lab } from '#/api/model'

const OURS = '/.datalabs/'

export interface Door {
  lab: Lab
  /** The lab's page on the platform. */
  page: string
}

export type Read = { door: Door } | { shutOut: true } | { gone: true } | { away: true }

/** A notice that the lab ends soon. */
export interface Expiring {
  minutes: number
  reason: string
}

async function ask(name: string, init?: RequestInit): Promise<Read> {
  let answer: Response
  try {
    answer = await fetch(OURS + name, { ...init, headers: { accept: 'application/json' } })
  } catch {
    return { away: true }
  }
  if (answer.ok) return { door: (await answer.json()) as Door }
  if (answer.status === 401) return { shutOut: true }
  if (answer.status === 404 || answer.status === 409) return { gone: true }
  return { away: true }
}

export function readDoor(): Promise<Read> {
  return ask('lab')
}

export function extend(): Promise<Read> {
  return ask('extend', { method: 'POST' })
}

interface Heard {
  lab(lab: Lab): void
  expiring(notice: Expiring): void
  /** Something may have been missed: the lab must be read again. */
  again(): void
}

/** Follow the lab's events; the browser itself connects again after a break, and is told `hello` then. */
export class LabEvents {
  private source: EventSource | undefined

  constructor(private readonly heard: Heard) {}

  /** Begin, or begin again after a refusal. */
  open(): void {
    if (this.source && this.source.readyState !== EventSource.CLOSED) return
    const source = new EventSource(`${OURS}events`)
    this.source = source
    for (const name of ['hello', 'reset', 'session_ended'])
      source.addEventListener(name, () => {
        if (name === 'session_ended') source.close()
        this.heard.again()
      })
    source.addEventListener('lab', (event) => {
      const fact = JSON.parse((event as MessageEvent<string>).data) as {
        fact: string
        data: { lab: Lab; detail?: Partial<Expiring> }
      }
      this.heard.lab(fact.data.lab)
      if (fact.fact === 'expiring')
        this.heard.expiring({
          minutes: Number(fact.data.detail?.minutes ?? 0),
          reason: String(fact.data.detail?.reason ?? ''),
        })
    })
  }

  close(): void {
    this.source?.close()
  }
}
