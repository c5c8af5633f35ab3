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
  readonly wishes: string[] = []
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

  figures(stream: string, wanted: boolean): void {
    this.wishes.push(`${stream} ${wanted}`)
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
  vi.stubGlobal('document', Object.assign(new EventTarget(), { hidden: false }))
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

/** Show or hide a tab: all of a test's tabs share one document, so it is told to one tab at a time. */
function show(one: Tab, shown: boolean): void {
  const page = document as unknown as { hidden: boolean }
  page.hidden = !shown
  ;(one.channel as unknown as { seen: () => void }).seen()
  page.hidden = false
}

const HELLO = 'id: e-1\nevent: hello\ndata: {"stream": "s1"}\n\n'

it('gives figures back when the last tab is hidden, takes them again, and keeps its stream', async () => {
  const leader = tab()
  await vi.waitFor(() => expect(server.open).toBe(1))
  server.say(HELLO)
  await vi.waitFor(() => expect(leader.heard).toHaveLength(1))
  const other = tab()
  await vi.waitFor(() => expect(other.heard).toHaveLength(1))
  show(leader, false)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(leader.wishes).toEqual([])
  show(other, false)
  await vi.waitFor(() => expect(leader.wishes).toEqual(['s1 false']))
  server.say('id: e-2\nevent: lab\ndata: 2\n\n')
  await vi.waitFor(() => expect(other.heard).toContain('lab 2'))
  show(other, true)
  await vi.waitFor(() => expect(leader.wishes).toEqual(['s1 false', 's1 true']))
  expect(other.wishes).toEqual([])
  expect(server.asked).toEqual([''])
})

it('counts a tab that is closed as hidden', async () => {
  const leader = tab()
  await vi.waitFor(() => expect(server.open).toBe(1))
  const other = tab()
  server.say(HELLO)
  await vi.waitFor(() => expect(other.heard).toHaveLength(1))
  show(leader, false)
  other.channel.close()
  await vi.waitFor(() => expect(leader.wishes).toEqual(['s1 false']))
})

it('asks for no figures in a new stream while all tabs are hidden', async () => {
  const one = tab()
  await vi.waitFor(() => expect(server.open).toBe(1))
  show(one, false)
  server.say(HELLO)
  await vi.waitFor(() => expect(one.wishes).toEqual(['s1 false']))
  server.hangUp()
  await vi.waitFor(() => expect(server.open).toBe(1), { timeout: 3000 })
  server.say('id: e-1\nevent: hello\ndata: {"stream": "s2"}\n\n')
  await vi.waitFor(() => expect(one.wishes).toEqual(['s1 false', 's2 false']))
})

it('asks who is shown when it takes the lead', async () => {
  const first = tab()
  await vi.waitFor(() => expect(server.open).toBe(1))
  const heir = tab()
  const third = tab()
  const page = document as unknown as { hidden: boolean }
  page.hidden = true
  first.channel.close()
  await vi.waitFor(() => expect(server.asked).toHaveLength(2))
  await vi.waitFor(() => expect(server.open).toBe(1))
  server.say(HELLO)
  await vi.waitFor(() => expect(heir.wishes).toEqual(['s1 false']))
  show(third, true)
  await vi.waitFor(() => expect(heir.wishes).toEqual(['s1 false', 's1 true']))
})
