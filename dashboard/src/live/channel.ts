/**
 * One event connection for all tabs of a browser (HTTP/1.1 allows six connections to a host).
 *
 * The tab that holds the Web Lock is the leader: it alone reads `GET /api/v1/events` and hands every event to the other
 * tabs by BroadcastChannel. When it closes, the browser passes the lock on, and the next leader resumes from the last
 * id that it heard, so nothing is lost and nothing is fetched anew.
 * The stream is read by `fetch` rather than `EventSource`: that one cannot begin with a `Last-Event-ID` of another tab
 * and does not tell a signed-out session (401) from a platform that is away (503).
 *
 * Labs are measured only while somebody looks. Each tab says whether it is shown; when none is, the leader gives the
 * stream's figures back and takes them again when one is shown, while the stream stays open.
 */
import { EventParser, type ServerEvent } from './sse'

export interface LiveStatus {
  state: 'connecting' | 'open' | 'lost' | 'signed-out'
  /** When the stream was last known to be whole, in milliseconds since 1970. */
  heardAt: number
}

type Frame =
  | { kind: 'event'; event: ServerEvent }
  | { kind: 'status'; status: LiveStatus; lastEventId: string }
  | { kind: 'hello' }
  /** A tab says whether it is shown; `leads` asks the others to say it too. */
  | { kind: 'shown'; tab: string; shown: boolean; leads: boolean }
  | { kind: 'session'; state: 'in' | 'out' }

export interface LiveListener {
  event(event: ServerEvent): void
  status(status: LiveStatus): void
  session(state: 'in' | 'out'): void
  /** Have figures in the open stream, or not. */
  figures(stream: string, wanted: boolean): void
}

const LOCK = 'datalabs-live'
const FIRST_RETRY_MS = 250
const LONGEST_RETRY_MS = 5_000
/** Comments come each 15 s at most; a stream that is silent for longer has lost its other end without a word. */
const SILENCE_MS = 40_000

export class LiveChannel {
  private readonly broadcast = new BroadcastChannel(LOCK)
  private readonly ending = new AbortController()
  private status: LiveStatus = { state: 'connecting', heardAt: Date.now() }
  private lastEventId = ''
  private leader = false
  private retryNow: (() => void) | null = null
  private readonly tab = crypto.randomUUID()
  private readonly shownTabs = new Set<string>()
  private stream: { id: string; figures: boolean } | null = null

  constructor(
    private readonly url: string,
    private readonly listener: LiveListener,
  ) {
    this.broadcast.onmessage = (message: MessageEvent<Frame>) => this.take(message.data)
    this.broadcast.postMessage({ kind: 'hello' } satisfies Frame)
    void navigator.locks
      .request(LOCK, { signal: this.ending.signal }, () => this.lead())
      .catch(() => undefined)
    addEventListener('online', this.hurry)
    document.addEventListener('visibilitychange', this.seen)
    addEventListener('pagehide', this.left)
    addEventListener('pageshow', this.seen)
    this.seen()
  }

  close(): void {
    this.left()
    this.ending.abort()
    this.broadcast.close()
    removeEventListener('online', this.hurry)
    document.removeEventListener('visibilitychange', this.seen)
    removeEventListener('pagehide', this.left)
    removeEventListener('pageshow', this.seen)
  }

  /** Tell the other tabs that this one signed in or out. */
  tellSession(state: 'in' | 'out'): void {
    this.broadcast.postMessage({ kind: 'session', state } satisfies Frame)
    this.hurry()
  }

  private readonly hurry = (): void => this.retryNow?.()

  private readonly seen = (): void => {
    this.sayShown(!document.hidden)
    this.hurry()
  }

  private readonly left = (): void => this.broadcastShown(false)

  private sayShown(shown: boolean, leads = false): void {
    this.broadcastShown(shown, leads)
    this.noteShown(this.tab, shown)
  }

  private broadcastShown(shown: boolean, leads = false): void {
    if (this.ending.signal.aborted) return
    this.broadcast.postMessage({ kind: 'shown', tab: this.tab, shown, leads } satisfies Frame)
  }

  private noteShown(tab: string, shown: boolean): void {
    if (shown) this.shownTabs.add(tab)
    else this.shownTabs.delete(tab)
    this.wantFigures()
  }

  /** The leader tells the platform, once for each change. */
  private wantFigures(): void {
    const wanted = this.shownTabs.size > 0
    if (!this.leader || !this.stream || this.stream.figures === wanted) return
    this.stream.figures = wanted
    this.listener.figures(this.stream.id, wanted)
  }

  private take(frame: Frame): void {
    if (frame.kind === 'event') this.deliver(frame.event)
    else if (frame.kind === 'status') this.adopt(frame.status, frame.lastEventId)
    else if (frame.kind === 'session') {
      this.listener.session(frame.state)
      this.hurry()
    } else if (frame.kind === 'shown') {
      this.noteShown(frame.tab, frame.shown)
      if (frame.leads) this.sayShown(!document.hidden)
    } else if (this.leader) this.tell(this.status)
  }

  private tell(status: LiveStatus): void {
    this.broadcast.postMessage({ kind: 'status', status, lastEventId: this.lastEventId } satisfies Frame)
  }

  /** A follower hears of an open stream for the first time: what it read before may lack what came in between. */
  private adopt(status: LiveStatus, lastEventId: string): void {
    if (status.state === 'open' && this.lastEventId === '' && lastEventId !== '') {
      this.deliver({ name: 'fresh', data: '{}', lastEventId })
    }
    this.show(status)
  }

  private deliver(event: ServerEvent): void {
    this.lastEventId = event.lastEventId
    this.listener.event(event)
  }

  private show(status: LiveStatus): void {
    this.status = status
    this.listener.status(status)
  }

  private announce(state: LiveStatus['state'], heard: boolean): void {
    const status = { state, heardAt: heard ? Date.now() : this.status.heardAt }
    this.tell(status)
    this.show(status)
  }

  private async lead(): Promise<void> {
    this.leader = true
    this.shownTabs.clear()
    this.sayShown(!document.hidden, true)
    let wait = FIRST_RETRY_MS
    while (!this.ending.signal.aborted) {
      const outcome = await this.read()
      if (this.ending.signal.aborted) break
      if (outcome === 'signed-out') {
        this.announce('signed-out', false)
        await this.pause(null)
        wait = FIRST_RETRY_MS
        continue
      }
      this.announce('lost', outcome === 'ended')
      if (outcome === 'ended') wait = FIRST_RETRY_MS
      await this.pause(wait * (0.5 + Math.random() / 2))
      wait = Math.min(LONGEST_RETRY_MS, wait * 2)
    }
  }

  /** Read one connection to its end. `ended` when it had been open, `failed` when it never was. */
  private async read(): Promise<'signed-out' | 'failed' | 'ended'> {
    const attempt = new AbortController()
    const stop = (): void => attempt.abort()
    this.ending.signal.addEventListener('abort', stop)
    let silence = setTimeout(stop, SILENCE_MS)
    let open = false
    const resumes = this.lastEventId !== ''
    try {
      const response = await fetch(this.url, {
        headers: {
          accept: 'text/event-stream',
          ...(this.lastEventId ? { 'last-event-id': this.lastEventId } : {}),
        },
        cache: 'no-store',
        signal: attempt.signal,
      })
      if (response.status === 401) return 'signed-out'
      if (!response.ok || !response.body) return 'failed'
      open = true
      this.announce('open', true)
      const parser = new EventParser(this.lastEventId)
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return 'ended'
        clearTimeout(silence)
        silence = setTimeout(stop, SILENCE_MS)
        this.status = { state: 'open', heardAt: Date.now() }
        for (const read of parser.push(value)) {
          if (read.name === 'hello' || read.name === 'reset') this.begun(read.data)
          const event = read.name === 'hello' && !resumes ? { ...read, name: 'fresh' } : read
          this.broadcast.postMessage({ kind: 'event', event } satisfies Frame)
          this.deliver(event)
        }
      }
    } catch {
      return open ? 'ended' : 'failed'
    } finally {
      this.stream = null
      clearTimeout(silence)
      attempt.abort()
      this.ending.signal.removeEventListener('abort', stop)
    }
  }

  /** A stream begins with figures. */
  private begun(data: string): void {
    const { stream } = JSON.parse(data) as { stream?: string }
    if (!stream || stream === this.stream?.id) return
    this.stream = { id: stream, figures: true }
    this.wantFigures()
  }

  private pause(milliseconds: number | null): Promise<void> {
    return new Promise((resolve) => {
      const timer = milliseconds === null ? undefined : setTimeout(() => go(), milliseconds)
      const go = (): void => {
        clearTimeout(timer)
        this.retryNow = null
        this.ending.signal.removeEventListener('abort', go)
        resolve()
      }
      this.retryNow = go
      this.ending.signal.addEventListener('abort', go)
    })
  }
}
