/**
 * A platform made of fixtures: enough of the API to run every page without any service.
 *
 * Who signs in chooses the world: `ada` (some of everything), `admin` (an operator), `fresh` (nothing yet), `crowd` (two
 * hundred datalabs). `POST /mock/<fault>` makes a bad day: `expire`, `outage?seconds=`, `expiring`, `reset`; `restore`
 * ends it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { answer, Refusal, read, refuse } from './answering.ts'
import { answerOperator } from './operators.ts'
import { answerPerson } from './routes.ts'
import { World } from './world.ts'

export class MockPlatform {
  private readonly world = new World()
  private readonly sessions = new Map<string, string>()
  private away = 0

  async handle(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const url = new URL(request.url ?? '/', 'http://mock')
    if (url.pathname.startsWith('/mock/')) {
      this.fault(url, response)
      return true
    }
    if (!url.pathname.startsWith('/api/v1/')) return false
    if (Date.now() < this.away) {
      answer(response, 503, 'away', 'text/plain')
      return true
    }
    try {
      await this.route(request, response, url, url.pathname.slice('/api/v1'.length))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      refuse(response, error)
    }
    return true
  }

  private fault(url: URL, response: ServerResponse): void {
    const what = url.pathname.slice('/mock/'.length)
    if (what === 'expire') this.sessions.clear()
    if (what === 'outage') this.away = Date.now() + Number(url.searchParams.get('seconds') ?? 5) * 1000
    if (what === 'outage' || what === 'expire') {
      this.world.live.cut()
    }
    if (what === 'restore') {
      this.away = 0
      this.world.restore()
    }
    if (what === 'reset') this.world.live.reset()
    if (what === 'expiring') {
      const first = this.world.labs.find((item) => item.id === 'k3v9x2mnpq')
      if (first)
        this.world.change(
          first,
          { expires_at: new Date(Date.now() + 5 * 60_000).toISOString() },
          'expiring',
          {
            minutes: 5,
            reason: 'idle',
          },
        )
    }
    // How many streams are open now.
    answer(response, 200, JSON.stringify({ followers: this.world.live.count }), 'application/json')
  }

  private who(request: IncomingMessage): string {
    const secret = /mock-session=([a-z0-9]+)/.exec(request.headers.cookie ?? '')?.[1]
    const username = secret ? this.sessions.get(secret) : undefined
    if (username) return username
    throw secret
      ? new Refusal(401, 'session_expired', 'Your session has ended; sign in again')
      : new Refusal(401, 'not_signed_in', 'Sign in first')
  }

  private async route(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    path: string,
  ): Promise<unknown> {
    const { world } = this
    const method = request.method ?? 'GET'
    const body = method === 'POST' || method === 'PUT' ? await read(request) : {}
    const send = (value: unknown, status = 200): unknown =>
      answer(response, status, JSON.stringify(value), 'application/json')
    const query = url.searchParams

    if (path === '/providers')
      return send({
        site_name: 'Open Datalabs',
        items: [{ id: 'local', title: 'User name and password', kind: 'password', url: null }],
      })
    if (path === '/telemetry') return send({}, 202)
    if (path === '/session' && method === 'POST') {
      const { username, password } = body as { username: string; password: string }
      if (password === 'wrong')
        throw new Refusal(401, 'wrong_credentials', 'Unknown user name or wrong password')
      const secret = Math.random().toString(36).slice(2)
      this.sessions.set(secret, username)
      response.setHeader('set-cookie', `mock-session=${secret}; Path=/; SameSite=Lax`)
      return send(world.me(username))
    }
    if (path === '/session' && method === 'DELETE') {
      response.setHeader('set-cookie', 'mock-session=; Path=/; Max-Age=0')
      return answer(response, 204, '', 'application/json')
    }

    const username = this.who(request)
    const asked = { world, username, method, path, query, body, request, response, send }
    if (answerPerson(asked) !== false) return undefined
    if (username !== 'admin')
      throw new Refusal(403, 'forbidden', 'Your roles do not allow this', 'Only operators may do this.')
    if (answerOperator(asked) === false) throw new Refusal(404, 'not_found', 'Nothing of yours is here')
    return undefined
  }
}
