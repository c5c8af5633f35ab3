/** The mock platform's answers to operators. */
import type { LabPolicyBody, LimitsBody } from '../src/api/model'
import { Refusal } from './answering.ts'
import { importProblems, nodes, OWN_LIMITS, people, policyOf, queueOf } from './cluster.ts'
import { history, spans } from './observations.ts'
import type { Asked } from './routes.ts'
import { ago } from './times.ts'

const deadLetters = [
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

/** Answer what operators may ask; `false` for an address that is not among it. */
export function answerOperator(asked: Asked): unknown {
  const { world, path, query, send } = asked
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
    const items = history(world.labs).filter(
      (event) =>
        fits('entity', event.subject.split('.')[1] ?? '') &&
        fits('entity_id', event.subject.split('.')[2] ?? '') &&
        fits('fact', event.subject.split('.')[3] ?? '') &&
        fits('owner', String(event.data.owner)),
    )
    return send({ items: items.slice(0, 100), next: null })
  }
  if (path === '/traces') {
    const items = world.labs.map((item, index) => ({
      trace_id: (item.trace_id ?? '').slice(0, 30) + String(index).padStart(2, '0'),
      name: index % 3 === 2 ? 'ingress' : 'launch',
      service: index % 3 === 2 ? 'edge' : 'dashboard',
      started_at: item.created_at,
      seconds: 0.4 + index * 0.37,
      spans: 19 + index,
      errors: item.state === 'failed' ? 1 : 0,
      lab_id: item.id,
    }))
    return send({
      items: items.filter(
        (item) =>
          (query.get('errors_only') !== 'true' || item.errors > 0) &&
          (!query.get('name') || query.get('name') === item.name) &&
          (!query.get('service') || query.get('service') === item.service) &&
          (!query.get('lab_id') || query.get('lab_id') === item.lab_id) &&
          item.seconds >= Number(query.get('min_seconds') ?? 0),
      ),
      next: null,
    })
  }
  const trace = /^\/traces\/([0-9a-f]{32})$/.exec(path)?.[1]
  if (trace) return send({ items: spans(trace), next: null })
  if (path === '/dead-letters') return send({ items: deadLetters, next: null })
  const letter = /^\/dead-letters\/([^/]+)\/replay$/.exec(path)?.[1]
  if (letter) {
    const found = deadLetters.find((item) => item.id === letter)
    if (!found) throw new Refusal(404, 'not_found', 'Nothing of yours is here')
    found.state = 'replayed'
    return send(found, 202)
  }
  if (path === '/nodes') return send({ items: nodes(), away: ['nomad-east'] })
  if (path === '/queue') {
    const items = queueOf(world.labs)
    return send({ items, next: null, total: items.length })
  }
  if (path === '/catalogue/problems') return send({ items: importProblems(), next: null })
  if (path === '/people') return send({ items: people(), next: null })
  const [, username, rules] = /^\/people\/([^/]+)\/(limits|lab-policy)$/.exec(path) ?? []
  if (username) return rulesOf(asked, username, rules ?? '')
  return false
}

function rulesOf({ world, method, body, send }: Asked, username: string, rules: string): unknown {
  if (!people().some((one) => one.username === username))
    throw new Refusal(404, 'not_found', 'Nothing of yours is here', 'There is no such person.')
  if (rules === 'limits') {
    if (method === 'PUT') world.own.set(username, body as LimitsBody)
    const limits = world.limits(username)
    return send({
      username,
      own: world.own.get(username) ?? OWN_LIMITS,
      site: { used: limits.used, ...world.site },
      limits,
    })
  }
  if (method === 'PUT')
    world.policies.set(username, {
      ...policyOf(username),
      ...(body as LabPolicyBody),
      changed_at: ago(0),
      changed_by: 'admin',
    })
  return send(world.policies.get(username) ?? policyOf(username))
}
