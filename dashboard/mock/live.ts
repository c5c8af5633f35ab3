/** The event streams of the mock platform: who follows, and what they can resume from. */
import type { IncomingMessage, ServerResponse } from 'node:http'

interface Follower {
  response: ServerResponse
  username: string
}

interface Stored {
  id: string
  name: string
  data: string
  owner: string | null
}

const KEPT = 500
const HEARTBEAT_MS = 15_000

export class MockLive {
  private followers: Follower[] = []
  private ring: Stored[] = []
  private sequence = 0
  private readonly epoch = Math.random().toString(16).slice(2, 8)

  constructor() {
    setInterval(() => this.everybody(': still here\n\n'), HEARTBEAT_MS).unref()
  }

  get count(): number {
    return this.followers.length
  }

  /** Break all connections. */
  cut(): void {
    for (const follower of this.followers) follower.response.end()
    this.followers = []
  }

  reset(): void {
    this.everybody('event: reset\ndata: {}\n\n')
  }

  /** Tell a fact to its owner and to operators, or to everybody. */
  tell(name: string, data: unknown, owner: string | null): void {
    this.sequence += 1
    const stored = { id: `${this.epoch}-${this.sequence}`, name, data: JSON.stringify(data), owner }
    this.ring = [...this.ring, stored].slice(-KEPT)
    for (const follower of this.followers) if (sees(follower, stored)) follower.response.write(frame(stored))
  }

  /** Hand a measurement to whoever may see it; nobody resumes from it. */
  sample(data: unknown, owner: string): void {
    for (const follower of this.followers) {
      if (follower.username === owner || follower.username === 'admin')
        follower.response.write(`event: sample\ndata: ${JSON.stringify(data)}\n\n`)
    }
  }

  follow(request: IncomingMessage, response: ServerResponse, username: string): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    const follower = { response, username }
    const last = String(request.headers['last-event-id'] ?? '')
    response.write(`id: ${this.epoch}-${this.sequence}\nevent: hello\ndata: {}\n\n`)
    if (last) {
      const at = this.ring.findIndex((stored) => stored.id === last)
      if (at < 0 && last !== `${this.epoch}-${this.sequence}`) response.write('event: reset\ndata: {}\n\n')
      else
        for (const stored of this.ring.slice(at + 1))
          if (sees(follower, stored)) response.write(frame(stored))
    }
    this.followers.push(follower)
    request.on('close', () => {
      this.followers = this.followers.filter((other) => other !== follower)
    })
  }

  private everybody(text: string): void {
    for (const { response } of this.followers) response.write(text)
  }
}

function sees(follower: Follower, stored: Stored): boolean {
  return stored.owner === null || stored.owner === follower.username || follower.username === 'admin'
}

function frame(stored: Stored): string {
  return `id: ${stored.id}\nevent: ${stored.name}\ndata: ${stored.data}\n\n`
}
