/** The mock platform's answers to people: catalogue, labs, data, usage. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { LaunchBody } from '../src/api/model'
import { Refusal } from './answering.ts'
import { crowd, detail, SIZES } from './catalogue.ts'
import { nodes } from './cluster.ts'
import { collections } from './collections.ts'
import { logOf, sampleOf, timelineOf } from './telling.ts'
import { ago } from './times.ts'
import { usageRows } from './usage.ts'
import type { World } from './world.ts'

/** One request of somebody who is signed in. */
export interface Asked {
  world: World
  username: string
  method: string
  path: string
  query: URLSearchParams
  body: unknown
  request: IncomingMessage
  response: ServerResponse
  send(value: unknown, status?: number): unknown
}

/** Answer what everybody may ask; `false` for an address that is not among it. */
export function answerPerson(asked: Asked): unknown {
  const { world, username, method, path, query, body, request, response, send } = asked
  const operator = username === 'admin'
  if (path === '/me') return send(world.me(username))
  if (path === '/limits') return send(world.limits(username))
  if (path === '/config') {
    return send({
      name: 'Open Datalabs',
      version: '0.1.0',
      public_url: 'http://localhost:8080',
      labs_domain: 'localhost',
      runtimes: ['process'],
      notices: ['Labs run on this machine as processes; there is no cluster beside it.'],
      session_expires_at: world.me(username).session_expires_at,
    })
  }
  if (path === '/events') return world.live.follow(request, response, username)
  if (path === '/datalabs') return send(world.search(query, username))
  const slug = /^\/datalabs\/([^/]+)$/.exec(path)?.[1]
  if (slug) {
    const card = [...world.datalabs, ...crowd()].find((item) => item.slug === slug)
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
      nodes: nodes(),
      away: [],
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
    return send({ items, next: null, total, limits: world.limits(username) })
  }
  if (path === '/labs:preflight') return send(world.preflight(body as LaunchBody, username))
  if (path === '/labs' && method === 'POST')
    return send(
      world.launch(body as LaunchBody, username, String(request.headers['idempotency-key'] ?? '')),
      202,
    )
  if (path === '/labs') {
    const all = query.get('all') === 'true'
    if (all && !operator) throw new Refusal(403, 'forbidden', 'Your roles do not allow this')
    const items = world.labs
      .filter(
        (item) =>
          (all || item.owner === username) &&
          !(query.get('include_ended') === 'false' && ['stopped', 'failed'].includes(item.state)),
      )
      .sort((a, b) => (a.created_at < b.created_at ? 1 : -1))
    return send({ items, next: null })
  }
  const [, id, action] = /^\/labs\/([a-z0-9]+)(?:\/(\w+))?$/.exec(path) ?? []
  if (id) return oneLab(asked, id, action ?? '')

  return false
}

function oneLab({ world, username, method, body, send }: Asked, id: string, action: string): unknown {
  const found = world.labs.find((item) => item.id === id && (item.owner === username || username === 'admin'))
  if (!found) throw new Refusal(404, 'not_found', 'Nothing of yours is here')
  if (method === 'DELETE') {
    const gone = world.change(found, { deleted: true, state: 'stopped' }, 'deleted')
    world.labs = world.labs.filter((item) => item.id !== id)
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
      world.change(found, { expires_at: new Date(Date.now() + seconds * 1000).toISOString() }, 'extended'),
    )
  }
  if (action === 'keep') {
    const until = (body as { until?: string | null }).until ?? null
    return send(world.change(found, { kept_until: until }, 'changed'))
  }
  if (action === 'priority') {
    if (username !== 'admin') throw new Refusal(403, 'forbidden', 'Your roles do not allow this')
    return send(world.change(found, { priority: (body as { priority: number }).priority }, 'changed'))
  }
  if (action === 'stop') {
    const stopping = world.change(found, { state: 'stopping', progress: null }, 'stopping')
    setTimeout(
      () =>
        world.change(
          stopping,
          { state: 'stopped', reason: 'stopped_by_user', ended_at: new Date().toISOString() },
          'stopped',
        ),
      1_200,
    )
    return send(stopping, 202)
  }
  if (action === 'restart') {
    const again = world.change(
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
    world.run(again.id)
    return send(again, 202)
  }
  throw new Refusal(404, 'not_found', 'Nothing of yours is here')
}
