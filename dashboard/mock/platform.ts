/**
 * A platform made of fixtures: enough of the API to run every page without any service.
 *
 * Who signs in chooses the world: `ada` (some of everything), `admin` (an operator), `fresh` (nothing yet), `crowd` (two
 * hundred datalabs). `POST /mock/<fault>` makes a bad day: `expire`, `outage?seconds=`, `expiring`, `reset`; `restore`
 * ends it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Datalab, Lab, LaunchBody, Me, Preflight } from '../src/api/model'
import { ago, collections, crowd, detail, SIZES, shipped } from './catalogue.ts'
import {
  history,
  lab,
  labsOfAda,
  labsOfOthers,
  logOf,
  sampleOf,
  spans,
  timelineOf,
  USUAL,
  usageRows,
} from './labs.ts'

const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789'
const SAMPLE_MS = 2_000

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

class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail = '',
    readonly extra: Record<string, unknown> = {},
  ) {
    super(title)
  }
}

export class MockPlatform {
  private labs: Lab[] = [...labsOfAda(), ...labsOfOthers()]
  private datalabs: Datalab[] = shipped()
  private readonly sessions = new Map<string, string>()
  private followers: Follower[] = []
  private ring: Stored[] = []
  private sequence = 0
  private epoch = Math.random().toString(16).slice(2, 8)
  private away = 0
  private deadLetters = [
    {
      id: 'dl-1',
      subject: 'dead.accounting-ledger',
      consumer: 'accounting-ledger',
      deliveries: 6,
      time: ago(50 * 60_000),
      state: 'open',
      error: 'OperationalError: connection refused (server closed the connection unexpectedly)',
      data: '{"lab":{"id":"k3v9x2mnpq","state":"ready"},"revision":4}',
      headers: { 'ce-type': 'org.datalabs.lab.ready.v1', 'ce-id': '01J' },
    },
    {
      id: 'dl-2',
      subject: 'dead.catalogue-popularity',
      consumer: 'catalogue-popularity',
      deliveries: 6,
      time: ago(26 * 3_600_000),
      state: 'replayed',
      error: 'ValidationError: 1 validation error for LabFact',
      data: '{"lab":{}}',
      headers: { 'ce-type': 'org.datalabs.lab.ready.v1' },
    },
  ]

  constructor() {
    setInterval(() => this.measure(), SAMPLE_MS).unref()
    setInterval(() => {
      for (const { response } of this.followers) response.write(': still here\n\n')
    }, 15_000).unref()
  }

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
      const body = {
        type: `https://open-datalabs.org/problems/${error.code}`,
        title: error.title,
        status: error.status,
        code: error.code,
        detail: error.detail,
        trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
        errors: [],
        retry_after: null,
        extra: error.extra,
      }
      answer(response, error.status, JSON.stringify(body), 'application/problem+json')
    }
    return true
  }

  private fault(url: URL, response: ServerResponse): void {
    const what = url.pathname.slice('/mock/'.length)
    if (what === 'expire') this.sessions.clear()
    if (what === 'outage') this.away = Date.now() + Number(url.searchParams.get('seconds') ?? 5) * 1000
    if (what === 'outage' || what === 'expire') {
      for (const follower of this.followers) follower.response.end()
      this.followers = []
    }
    if (what === 'restore') {
      this.away = 0
      this.labs = [...labsOfAda(), ...labsOfOthers()]
    }
    if (what === 'reset')
      for (const follower of this.followers) follower.response.write('event: reset\ndata: {}\n\n')
    if (what === 'expiring') {
      const first = this.labs.find((item) => item.id === 'k3v9x2mnpq')
      if (first)
        this.change(first, { expires_at: new Date(Date.now() + 5 * 60_000).toISOString() }, 'expiring', {
          minutes: 5,
          reason: 'idle',
        })
    }
    // How many streams are open now.
    answer(response, 200, JSON.stringify({ followers: this.followers.length }), 'application/json')
  }

  private who(request: IncomingMessage): string {
    const secret = /mock-session=([a-z0-9]+)/.exec(request.headers.cookie ?? '')?.[1]
    const username = secret ? this.sessions.get(secret) : undefined
    if (username) return username
    throw secret
      ? new Refusal(401, 'session_expired', 'Your session has ended; sign in again')
      : new Refusal(401, 'not_signed_in', 'Sign in first')
  }

  private me(username: string): Me {
    const operator = username === 'admin'
    return {
      id: `person-${username}`,
      username,
      display_name: operator ? 'Platform operator' : username === 'ada' ? 'Ada Lovelace' : '',
      roles: operator ? ['user', 'operator'] : ['user'],
      uid: 10_001,
      teams: [],
      limits: this.limits(username),
      session_expires_at: new Date(Date.now() + 8 * 3_600_000).toISOString(),
    }
  }

  private limits(username: string) {
    const held = this.labs.filter(
      (item) => item.owner === username && !['queued', 'stopped', 'failed'].includes(item.state),
    )
    const used = {
      labs: held.length,
      cores: held.reduce((sum, item) => sum + item.cores, 0),
      memory_mib: held.reduce((sum, item) => sum + item.memory_mib, 0),
    }
    return username === 'admin'
      ? { used, max_labs: null, max_cores: null, max_memory_mib: null }
      : { used, max_labs: 6, max_cores: 8, max_memory_mib: 16_384 }
  }

  private async route(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    path: string,
  ): Promise<unknown> {
    const method = request.method ?? 'GET'
    const body = method === 'POST' ? await read(request) : {}
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
      return send(this.me(username))
    }
    if (path === '/session' && method === 'DELETE') {
      response.setHeader('set-cookie', 'mock-session=; Path=/; Max-Age=0')
      return answer(response, 204, '', 'application/json')
    }

    const username = this.who(request)
    const operator = username === 'admin'
    if (path === '/me') return send(this.me(username))
    if (path === '/limits') return send(this.limits(username))
    if (path === '/config') {
      return send({
        name: 'Open Datalabs',
        version: '0.1.0',
        public_url: 'http://localhost:8080',
        labs_domain: 'localhost',
        runtimes: ['process'],
        notices: ['Labs run on this machine as processes; there is no cluster beside it.'],
        session_expires_at: this.me(username).session_expires_at,
      })
    }
    if (path === '/events') return this.follow(request, response, username)
    if (path === '/datalabs') return send(this.search(query, username))
    const slug = /^\/datalabs\/([^/]+)$/.exec(path)?.[1]
    if (slug) {
      const card = [...this.datalabs, ...crowd()].find((item) => item.slug === slug)
      if (!card) throw new Refusal(404, 'unknown_datalab', 'The catalogue has no such datalab')
      return send(detail(card))
    }
    if (path === '/sizes') return send({ items: SIZES, next: null })
    if (path === '/collections')
      return send({
        items: username === 'fresh' ? [] : collections().map((item) => ({ ...item, files: [] })),
        next: null,
      })
    const collection = /^\/collections\/([^/]+)$/.exec(path)?.[1]
    if (collection) {
      const found = collections().find((item) => item.id === collection)
      if (!found) throw new Refusal(404, 'not_found', 'There is no such collection')
      return send(found)
    }
    if (path === '/volumes') {
      if (username === 'fresh') return send({ items: [] })
      const volume = {
        owner: username,
        uid: 10_001,
        measured_at: ago(45_000),
        revision: 3,
        created_at: ago(90 * 86_400_000),
      }
      return send({
        items: [
          {
            ...volume,
            id: 'home-ada',
            kind: 'home',
            name: 'home',
            used_bytes: 13_314_398_617,
            quota_bytes: 107_374_182_400,
          },
          {
            ...volume,
            id: 'scratch-k3v9x2mnpq',
            kind: 'scratch',
            name: 'k3v9x2mnpq',
            used_bytes: 327_155_712,
            quota_bytes: 4_294_967_296,
          },
        ],
      })
    }
    if (path === '/capacity')
      return send({
        cores: 32,
        memory_mib: 24_576,
        cores_taken: 9.5,
        memory_taken_mib: 17_920,
        queued: 1,
        runtimes: ['process'],
        notices: ['Labs run on this machine as processes; there is no cluster beside it.'],
      })
    if (path === '/usage') {
      const since = Date.parse(query.get('from') ?? ago(30 * 86_400_000))
      const until = Date.parse(query.get('to') ?? new Date().toISOString())
      const items = username === 'fresh' ? [] : usageRows(query.get('by') ?? 'lab', since, until)
      const total = items.reduce(
        (sum, row) => ({
          labs: sum.labs + row.labs,
          seconds: sum.seconds + row.seconds,
          core_seconds: sum.core_seconds + row.core_seconds,
          gib_seconds: sum.gib_seconds + row.gib_seconds,
        }),
        { labs: 0, seconds: 0, core_seconds: 0, gib_seconds: 0 },
      )
      return send({ items, next: null, total, limits: this.limits(username) })
    }
    if (path === '/labs:preflight') return send(this.preflight(body as LaunchBody, username))
    if (path === '/labs' && method === 'POST')
      return send(
        this.launch(body as LaunchBody, username, String(request.headers['idempotency-key'] ?? '')),
        202,
      )
    if (path === '/labs') {
      const all = query.get('all') === 'true'
      if (all && !operator) throw new Refusal(403, 'forbidden', 'Your roles do not allow this')
      const items = this.labs
        .filter(
          (item) =>
            (all || item.owner === username) &&
            !(query.get('include_ended') === 'false' && ['stopped', 'failed'].includes(item.state)),
        )
        .sort((a, b) => (a.created_at < b.created_at ? 1 : -1))
      return send({ items, next: null })
    }
    const [, id, action] = /^\/labs\/([a-z0-9]+)(?:\/(\w+))?$/.exec(path) ?? []
    if (id) return this.oneLab(send, username, id, action ?? '', method, body)

    if (!operator)
      throw new Refusal(403, 'forbidden', 'Your roles do not allow this', 'Only operators may do this.')
    if (path === '/platform') {
      const parts = [
        'nats',
        'postgres',
        'envoy',
        'gateway',
        'auth',
        'catalogue',
        'storage',
        'launcher',
        'accounting',
        'observer',
      ]
      return send({
        items: parts.map((name) => ({
          name,
          state: name === 'storage' ? 'degraded' : 'ok',
          text: name === 'storage' ? 'One collection is being installed' : '',
          seen_at: ago(2_000),
        })),
      })
    }
    if (path === '/events/history') {
      const fits = (word: string, value: string): boolean => !query.get(word) || query.get(word) === value
      const items = history(this.labs).filter(
        (event) =>
          fits('entity', event.subject.split('.')[1] ?? '') &&
          fits('entity_id', event.subject.split('.')[2] ?? '') &&
          fits('fact', event.subject.split('.')[3] ?? '') &&
          fits('owner', String(event.data.owner)),
      )
      return send({ items: items.slice(0, 100), next: null })
    }
    if (path === '/traces') {
      const items = this.labs.map((item, index) => ({
        trace_id: (item.trace_id ?? '').slice(0, 30) + String(index).padStart(2, '0'),
        name: 'launch',
        service: 'dashboard',
        started_at: item.created_at,
        seconds: 0.4 + index * 0.37,
        spans: 19 + index,
        errors: item.state === 'failed' ? 1 : 0,
        lab_id: item.id,
      }))
      return send({
        items: query.get('errors_only') === 'true' ? items.filter((item) => item.errors > 0) : items,
        next: null,
      })
    }
    const trace = /^\/traces\/([0-9a-f]{32})$/.exec(path)?.[1]
    if (trace) return send({ items: spans(trace), next: null })
    if (path === '/dead-letters') return send({ items: this.deadLetters, next: null })
    const letter = /^\/dead-letters\/([^/]+)\/replay$/.exec(path)?.[1]
    if (letter) {
      const found = this.deadLetters.find((item) => item.id === letter)
      if (!found) throw new Refusal(404, 'not_found', 'Nothing of yours is here')
      found.state = 'replayed'
      return send(found, 202)
    }
    throw new Refusal(404, 'not_found', 'Nothing of yours is here')
  }

  private oneLab(
    send: (value: unknown, status?: number) => void,
    username: string,
    id: string,
    action: string,
    method: string,
    body: unknown,
  ): unknown {
    const found = this.labs.find(
      (item) => item.id === id && (item.owner === username || username === 'admin'),
    )
    if (!found) throw new Refusal(404, 'not_found', 'Nothing of yours is here')
    if (method === 'DELETE') {
      const gone = this.change(found, { deleted: true, state: 'stopped' }, 'deleted')
      this.labs = this.labs.filter((item) => item.id !== id)
      return send(gone, 202)
    }
    if (action === '') return send(found)
    if (action === 'timeline') return send(timelineOf(found))
    if (action === 'logs')
      return send({ lab_id: id, attempt: found.attempt, lines: logOf(found), truncated: true })
    if (action === 'metrics') {
      const samples =
        found.state === 'ready'
          ? Array.from({ length: 120 }, (_, index) => sampleOf(found, Date.now() - (120 - index) * 5_000))
          : []
      return send({ lab_id: id, samples })
    }
    if (action === 'open') {
      if (found.state !== 'ready') throw new Refusal(409, 'lab_not_ready', 'The lab is not ready yet')
      return send({ url: `/mock-lab.html?lab=${id}` })
    }
    if (action === 'extend') {
      const seconds = (body as { seconds?: number }).seconds ?? 4 * 3600
      return send(
        this.change(found, { expires_at: new Date(Date.now() + seconds * 1000).toISOString() }, 'extended'),
      )
    }
    if (action === 'stop') {
      const stopping = this.change(found, { state: 'stopping', progress: null }, 'stopping')
      setTimeout(
        () =>
          this.change(
            stopping,
            { state: 'stopped', reason: 'stopped_by_user', ended_at: new Date().toISOString() },
            'stopped',
          ),
        1_200,
      )
      return send(stopping, 202)
    }
    if (action === 'restart') {
      const again = this.change(
        found,
        {
          state: 'queued',
          attempt: found.attempt + 1,
          reason: null,
          message: '',
          ended_at: null,
          ready_at: null,
          exit_code: null,
          last_lines: [],
          created_at: new Date().toISOString(),
        },
        'queued',
      )
      this.run(again.id)
      return send(again, 202)
    }
    throw new Refusal(404, 'not_found', 'Nothing of yours is here')
  }

  private search(query: URLSearchParams, username: string) {
    const q = (query.get('q') ?? '').toLowerCase().trim()
    const all =
      username === 'crowd' ? [...this.datalabs, ...crowd()] : username === 'nothing' ? [] : this.datalabs
    const wanted = (name: string, value: string): boolean =>
      query.getAll(name).length === 0 || query.getAll(name).includes(value)
    const items = all.filter(
      (item) =>
        (q === '' ||
          `${item.title} ${item.abstract} ${(item.keywords ?? []).join(' ')} ${item.domain} ${item.mission}`
            .toLowerCase()
            .includes(q)) &&
        wanted('kind', item.kind) &&
        wanted('domain', item.domain) &&
        wanted('mission', item.mission),
    )
    const count = (of: (item: Datalab) => string): { value: string; count: number }[] => {
      const counts = new Map<string, number>()
      for (const item of items) if (of(item)) counts.set(of(item), (counts.get(of(item)) ?? 0) + 1)
      return [...counts]
        .map(([value, number]) => ({ value, count: number }))
        .sort((a, b) => b.count - a.count)
    }
    return {
      items,
      next: null,
      facets: {
        kind: count((item) => item.kind),
        domain: count((item) => item.domain),
        mission: count((item) => item.mission),
        keyword: count((item) => item.keywords?.[0] ?? ''),
      },
      total: items.length,
      did_you_mean: items.length === 0 && q !== '' ? 'jupyter' : null,
    }
  }

  private preflight(body: LaunchBody, username: string): Preflight {
    const size = SIZES.find((item) => item.name === body.size) ?? SIZES[0]
    if (!size) throw new Refusal(422, 'unknown_size', 'There is no such size for this datalab')
    const limits = this.limits(username)
    const over = limits.max_cores !== null && limits.used.cores + size.cores > limits.max_cores
    const fit = size.name === 'huge' ? 'never' : over ? 'over_limit' : size.name === 'large' ? 'queue' : 'now'
    const text = {
      now: 'There is room for it now.',
      queue: 'The cluster is full; you would be 3rd, about 2 min.',
      never: 'It needs 32 cores; the largest machine of this site has 8.',
      over_limit: 'It would take you over your limit of 8 cores.',
    }[fit]
    return {
      fit,
      text,
      size,
      runtime: 'process',
      queue_position: fit === 'queue' ? 3 : null,
      expected_seconds: 1.3,
      expected_phases: USUAL,
      limits,
      notices: ['On this site it shares the machine’s network with other labs.'],
    }
  }

  private launch(body: LaunchBody, username: string, key: string): Lab {
    const known = this.keys.get(`${username}/${key}`)
    const same = known ? this.labs.find((item) => item.id === known) : undefined
    if (same) return same
    const preflight = this.preflight(body, username)
    if (preflight.fit === 'never')
      throw new Refusal(409, 'never_fits', 'No machine of this site can ever hold this size', preflight.text)
    if (preflight.fit === 'over_limit')
      throw new Refusal(409, 'quota_exceeded', 'This launch would exceed your limits', preflight.text)
    const card = this.datalabs.find((item) => item.slug === body.datalab)
    const id = `z${Array.from({ length: 9 }, () => ALPHABET[Math.floor(Math.random() * ALPHABET.length)]).join('')}`
    const made = lab({
      id,
      state: 'queued',
      datalab: body.datalab,
      datalab_title: card?.title ?? body.datalab,
      name: body.name ?? card?.title ?? body.datalab,
      owner: username,
      kind: card?.kind ?? 'web',
      size: preflight.size.name,
      cores: preflight.size.cores,
      memory_mib: preflight.size.memory_mib,
      created_at: new Date().toISOString(),
      revision: 1,
      parameters: body.parameters ?? {},
    })
    this.keys.set(`${username}/${key}`, id)
    this.labs.push(made)
    this.run(id, Number(process.env.MOCK_PACE ?? 1))
    return made
  }

  private readonly keys = new Map<string, string>()

  private run(id: string, pace = 1): void {
    const step = (after: number, fields: Partial<Lab>, fact: string): void => {
      setTimeout(() => {
        const current = this.labs.find((item) => item.id === id)
        if (current && !['stopping', 'stopped', 'failed'].includes(current.state))
          this.change(current, fields, fact)
      }, after * pace)
    }
    step(20, {}, 'queued')
    step(
      150,
      {
        state: 'preparing',
        progress: { phase: 'preparing', fraction: 0.2, text: 'Mounting your files and the collections' },
      },
      'preparing',
    )
    step(
      700,
      {
        state: 'starting',
        started_at: new Date().toISOString(),
        progress: {
          phase: 'starting',
          fraction: 0.5,
          text: 'Its program has started; waiting for its first answer',
        },
      },
      'starting',
    )
    setTimeout(() => {
      const current = this.labs.find((item) => item.id === id)
      if (current?.state === 'starting')
        this.change(
          current,
          {
            state: 'ready',
            progress: null,
            ready_at: new Date().toISOString(),
            expires_at: new Date(Date.now() + 8 * 3_600_000).toISOString(),
          },
          'ready',
        )
    }, 2_000 * pace)
  }

  private change(item: Lab, fields: Partial<Lab>, fact: string, more: Record<string, unknown> = {}): Lab {
    const current = this.labs.find((other) => other.id === item.id) ?? item
    const next = { ...current, ...fields, revision: current.revision + 1 }
    this.labs = this.labs.map((other) => (other.id === item.id ? next : other))
    const live = {
      id: `${next.id}-${next.revision}`,
      type: `org.datalabs.lab.${fact}.v1`,
      entity: 'lab',
      entity_id: next.id,
      fact,
      time: new Date().toISOString(),
      revision: next.revision,
      trace_id: next.trace_id,
      data: { lab: next, revision: next.revision, owner: next.owner, actor: next.owner, detail: more },
    }
    this.sequence += 1
    this.emit({
      id: `${this.epoch}-${this.sequence}`,
      name: 'lab',
      data: JSON.stringify(live),
      owner: next.owner,
    })
    return next
  }

  private emit(stored: Stored): void {
    this.ring = [...this.ring, stored].slice(-500)
    for (const follower of this.followers) if (sees(follower, stored)) follower.response.write(frame(stored))
  }

  private measure(): void {
    for (const item of this.labs.filter((other) => other.state === 'ready')) {
      const data = JSON.stringify(sampleOf(item))
      for (const follower of this.followers) {
        if (follower.username === item.owner || follower.username === 'admin')
          follower.response.write(`event: sample\ndata: ${data}\n\n`)
      }
    }
    const waiting = this.datalabs.find((item) => item.readiness?.state === 'preparing')
    if (waiting?.readiness) {
      const fraction = Math.min(0.99, (waiting.readiness.fraction ?? 0) + 0.004)
      waiting.readiness = {
        ...waiting.readiness,
        fraction,
        text: `Installing ${Math.round(fraction * 112)} of 112 packages`,
        revision: (waiting.readiness.revision ?? 0) + 1,
      }
      const data = {
        id: 'x',
        type: '',
        entity: 'environment',
        entity_id: waiting.slug,
        fact: 'changed',
        time: new Date().toISOString(),
        revision: waiting.readiness.revision,
        data: { readiness: waiting.readiness, revision: 1, owner: '', actor: '' },
      }
      this.sequence += 1
      this.emit({
        id: `${this.epoch}-${this.sequence}`,
        name: 'environment',
        data: JSON.stringify(data),
        owner: null,
      })
    }
  }

  private follow(request: IncomingMessage, response: ServerResponse, username: string): void {
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
}

function sees(follower: Follower, stored: Stored): boolean {
  return stored.owner === null || stored.owner === follower.username || follower.username === 'admin'
}

function frame(stored: Stored): string {
  return `id: ${stored.id}\nevent: ${stored.name}\ndata: ${stored.data}\n\n`
}

function answer(response: ServerResponse, status: number, body: string, type: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
  response.end(body)
}

async function read(request: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return text ? JSON.parse(text) : {}
}
