/** Refusals: what the API says in a problem document, and how a page tells it to a person. */
import type { Problem } from './model'

/** Codes of our own for what never reached the API. */
export type LocalCode = 'no_connection' | 'unreadable_answer'

export class ProblemError extends Error {
  readonly code: Problem['code'] | LocalCode
  readonly status: number
  readonly title: string
  readonly detail: string
  readonly traceId: string | null
  readonly retryAfter: number | null
  readonly errors: Problem['errors']
  readonly extra: Problem['extra']

  constructor(problem: Partial<Omit<Problem, 'code'>> & { code: Problem['code'] | LocalCode }) {
    super(problem.detail || problem.title || problem.code)
    this.name = 'ProblemError'
    this.code = problem.code
    this.status = problem.status ?? 0
    this.title = problem.title ?? ''
    this.detail = problem.detail ?? ''
    this.traceId = problem.trace_id ?? null
    this.retryAfter = problem.retry_after ?? null
    this.errors = problem.errors ?? []
    this.extra = problem.extra ?? {}
  }

  static noConnection(): ProblemError {
    return new ProblemError({
      code: 'no_connection',
      title: 'The platform cannot be reached from this browser',
    })
  }

  static async from(response: Response): Promise<ProblemError> {
    const type = response.headers.get('content-type') ?? ''
    if (type.includes('json')) {
      const body = (await response.json().catch(() => null)) as Problem | null
      if (body?.code) return new ProblemError({ ...body, status: body.status ?? response.status })
    }
    const away = response.status === 502 || response.status === 503 || response.status === 504
    return new ProblemError({
      code: away ? 'service_unavailable' : 'unreadable_answer',
      status: response.status,
      title: away
        ? 'A part of the platform is away; it comes back by itself'
        : `The platform gave an answer this page cannot read (HTTP ${response.status})`,
    })
  }
}

/** Whether asking again, unchanged, may well succeed. */
export function passing(error: unknown): boolean {
  return (
    error instanceof ProblemError &&
    ['no_connection', 'service_unavailable', 'deadline_exceeded', 'rate_limited'].includes(error.code)
  )
}

export interface Told {
  what: string
  affected: string
  now: string
  code: string
  traceId: string | null
}

const SAFE = 'Your labs and files are not affected.'
const NOTHING_STARTED = 'Nothing was started; your running labs go on.'

const WORDS: Partial<Record<ProblemError['code'], { affected: string; now: string }>> = {
  no_connection: {
    affected: 'Labs that run go on running.',
    now: 'Check your connection. This page tries again by itself.',
  },
  service_unavailable: {
    affected: 'Labs that run go on running, and your files are safe.',
    now: 'Wait a moment and try again.',
  },
  deadline_exceeded: {
    affected: 'What you asked for may still happen.',
    now: 'Look at the page again in a moment before you repeat it.',
  },
  rate_limited: { affected: SAFE, now: 'Wait a few seconds, then try again.' },
  quota_exceeded: {
    affected: NOTHING_STARTED,
    now: 'Stop a lab that you no longer need, or choose a smaller size.',
  },
  too_many_queued: { affected: NOTHING_STARTED, now: 'Cancel a waiting lab, or wait until one has started.' },
  never_fits: { affected: NOTHING_STARTED, now: 'Choose a smaller size.' },
  runtime_unavailable: { affected: NOTHING_STARTED, now: 'Choose another datalab, or ask an operator.' },
  invalid_parameters: { affected: NOTHING_STARTED, now: 'Change the marked fields.' },
  invalid_request: { affected: SAFE, now: 'Change the marked fields.' },
  unknown_datalab: { affected: SAFE, now: 'Look for it in the catalogue; it may have a new name.' },
  unknown_version: { affected: NOTHING_STARTED, now: 'Choose one of its versions.' },
  unknown_size: { affected: NOTHING_STARTED, now: 'Choose one of its sizes.' },
  not_found: { affected: SAFE, now: 'It may have been deleted, or belong to somebody else.' },
  forbidden: { affected: SAFE, now: 'Ask an operator for the role, or sign in as somebody who has it.' },
  lab_not_ready: { affected: 'The lab goes on starting.', now: 'Wait until it is ready.' },
  lab_ended: { affected: 'Your files are safe.', now: 'Restart it to go on.' },
  lab_still_running: { affected: 'The lab goes on running.', now: 'Stop it first.' },
  extension_too_long: { affected: 'The lab keeps its present end.', now: 'Choose a shorter time.' },
  disk_full: { affected: NOTHING_STARTED, now: 'An operator must make room first.' },
  conflict: { affected: SAFE, now: 'Look at the page again; it shows what it is now.' },
  idempotency_mismatch: { affected: NOTHING_STARTED, now: 'Launch again.' },
  internal_error: {
    affected: 'Labs that run go on running.',
    now: 'Try again; if it happens again, tell an operator the trace.',
  },
  wrong_credentials: { affected: '', now: 'Check both and try again.' },
  foreign_origin: { affected: SAFE, now: 'Open the platform at its own address.' },
  unreadable_answer: { affected: SAFE, now: 'Reload the page.' },
}

/** What happened, whether anything of the reader's is affected, what to do now. */
export function tell(error: unknown): Told {
  if (!(error instanceof ProblemError)) {
    return {
      what: 'This page made a mistake.',
      affected: SAFE,
      now: 'Reload the page.',
      code: error instanceof Error ? error.name : 'unknown',
      traceId: null,
    }
  }
  const words = WORDS[error.code] ?? { affected: SAFE, now: 'Try again in a moment.' }
  return {
    what: stop(error.detail || error.title || error.code),
    affected: words.affected,
    now: words.now,
    code: error.code,
    traceId: error.traceId,
  }
}

function stop(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}
