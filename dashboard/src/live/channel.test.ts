import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { LiveChannel, type LiveListener, type LiveStatus } from './channel'

/** Locks as a browser has them: one holder, the others wait in line. */
class Locks {
  private held = false
  private line: (() => void)[] = []

  async request(_: string, options: { signal: AbortSignal }, work: () => Promise<void>): Promise<void> {
    while (this.held) await new Promise<void>((resolve) => this.line.push(resolve))
    if (options.signal.aborted) throw new DOMException('gone', 'AbortError')
    this.held = true
    try {
      await work()
    } finally {
      this.held = false
      this.line.shift()?.()
    }
  }
}

class Server {
  readonly asked: string[] = []
  private streams: ReadableStreamDefaultController<Uint8Array>[] = []
  status = 200

  readonly fetch = async (
    _: string,
    init: { headers: Record<string, string>; signal: AbortSignal },
  ): Promise<Response> => {
    this.asked.push(init.headers['last-event-id'] ?? '')
    if (this.status !== 200) return new Response('', { status: this.status })
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.streams.push(controller)
        init.signal.addEventListener('abort', () => {
          if (this.streams.includes(controller))
            this.forget(controller).error(new DOMException('gone', 'AbortError'))
        })
      },
    })
    return new Response(stream, { status: 200 })
  }

  private forget(controller: ReadableStreamDefaultController<Uint8Array>) {
    this.streams = this.streams.filter((other) => other !== controller)
    return controller
  }

  get open(): number {
    return this.streams.length
  }

  say(text: string): void {
    for (const stream of this.streams) stream.enqueue(new TextEncoder().encode(text))
  }

  hangUp(): void {
    for (const stream of this.streams) this.forget(stream).close()
  }
}

class Tab implements LiveListener {
  readonly heard: string[] = []
  readonly states: string[] = []
  readonly sessions: string[] = []
  readonly channel = new LiveChannel('/api/v1/events', this)

  event(event: { name: string; data: string }): void {
    this.heard.push(`${event.name} ${event.data}`)
  }

  status(status: LiveStatus): void {
    this.states.push(status.state)
  }

  session(state: 'in' | 'out'): void {
    this.sessions.push(state)
  }
}

let server: Server
const tabs: Tab[] = []
const tab = (): Tab => {
  const made = new Tab()
  tabs.push(made)
  return made
}

beforeEach(() => {
  server = new Server()
  vi.stubGlobal('navigator', { locks: new Locks() })
  vi.stubGlobal('fetch', server.fetch)
  vi.stubGlobal('document', new EventTarget())
  const window = new EventTarget()
  vi.stubGlobal('addEventListener', window.addEventListener.bind(window))
  vi.stubGlobal('removeEventListener', window.removeEventListener.bind(window))
})

afterEach(() => {
  for (const one of tabs.splice(0)) one.channel.close()
  vi.unstubAllGlobals()
})

it('lets ten tabs hear everything through one connection', async () => {
  const all = Array.from({ length: 10 }, tab)
  await vi.waitFor(() => expect(server.open).toBe(1))
  server.say('id: e-1\nevent: lab\ndata: 1\n\n')
  await vi.waitFor(() => expect(all.map((one) => one.heard.at(-1))).toEqual(Array(10).fill('lab 1')))
  expect(server.asked).toEqual([''])
})

it('passes the stream on when the leading tab closes, from the last event on', async () => {
  const first = tab()
  await vi.waitFor(() => expect(server.open).toBe(1))
  const second = tab()
  server.say('id: e-7\nevent: lab\ndata: 7\n\n')
  await vi.waitFor(() => expect(second.heard).toContain('lab 7'))
  first.channel.close()
  await vi.waitFor(() => expect(server.asked).toEqual(['', 'e-7']))
})

it('tells a tab that its first reading may lack something, once', async () => {
  const first = tab()
  await vi.waitFor(() => expect(server.open).toBe(1))
  server.say('id: e-1\nevent: hello\ndata: {}\n\n')
  await vi.waitFor(() => expect(first.heard).toEqual(['fresh {}']))
  const late = tab()
  await vi.waitFor(() => expect(late.heard).toEqual(['fresh {}']))
  server.hangUp()
  await vi.waitFor(() => expect(server.asked).toEqual(['', 'e-1']))
  server.say('id: e-1\nevent: hello\ndata: {}\n\n')
  await vi.waitFor(() => expect(first.heard).toEqual(['fresh {}', 'hello {}']))
})

it('says that the stream is lost and comes back by itself', async () => {
  const one = tab()
  await vi.waitFor(() => expect(server.open).toBe(1))
  server.status = 503
  server.hangUp()
  await vi.waitFor(() => expect(one.states).toContain('lost'))
  server.status = 200
  await vi.waitFor(() => expect(one.states.at(-1)).toBe('open'), { timeout: 3000 })
})

it('waits for somebody to sign in again rather than ask and ask', async () => {
  server.status = 401
  const one = tab()
  const other = tab()
  await vi.waitFor(() => expect(one.states).toEqual(['signed-out']))
  expect(server.asked).toHaveLength(1)
  server.status = 200
  other.channel.tellSession('in')
  await vi.waitFor(() => expect(one.states.at(-1)).toBe('open'))
  expect(one.sessions).toEqual(['in'])
})
