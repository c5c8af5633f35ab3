/** What operators of the mock platform see: spans and stored events. */
import type { Lab, Span, StoredEvent } from '../src/api/model'
import { MINUTE } from './times.ts'

export function spans(traceId: string): Span[] {
  const base = BigInt(Date.now() - 20 * MINUTE) * 1_000_000n
  const rows: [string, string | null, string, string, number, number, string?][] = [
    ['a1', null, 'launch', 'dashboard', 0, 42],
    ['a2', 'a1', 'ingress', 'envoy', 3, 38],
    ['a3', 'a2', 'POST /api/v1/labs', 'gateway', 4, 37],
    ['a4', 'a3', 'send rpc.launcher.launch_lab', 'gateway', 6, 35],
    ['a5', 'a4', 'process rpc.launcher.launch_lab', 'launcher', 8, 34],
    ['a6', 'a5', 'process rpc.catalogue.get_specification', 'catalogue', 10, 15],
    ['a7', 'a5', 'process rpc.accounting.reserve', 'accounting', 16, 26],
    ['a8', 'a5', 'INSERT labs', 'launcher', 27, 31],
    ['b1', 'a5', 'queued', 'launcher', 34, 90],
    ['b2', 'a5', 'preparing', 'launcher', 90, 380],
    ['b3', 'b2', 'process rpc.storage.prepare_volumes', 'storage', 96, 310],
    ['b4', 'a5', 'starting', 'launcher', 380, 930],
    ['b5', 'b4', 'submit', 'launcher', 384, 402],
    ['b6', 'b4', 'shim', 'scheduler', 405, 470],
    ['b7', 'b4', 'lab process', 'lab', 470, 925],
    ['b8', 'a5', 'answering', 'launcher', 930, 1400],
    ['b9', 'b8', 'probe /api/status', 'launcher', 1310, 1330, 'error'],
    ['c1', 'b8', 'probe /api/status', 'launcher', 1385, 1398],
    ['c2', 'a1', 'first visit', 'envoy', 1450, 1520],
  ]
  return rows.map(([id, parent, name, service, from, to, status]) => ({
    trace_id: traceId,
    span_id: id.padEnd(16, '0'),
    parent_id: parent ? parent.padEnd(16, '0') : null,
    name,
    kind: 'internal',
    service,
    start_ns: Number(base + BigInt(from) * 1_000_000n),
    end_ns: Number(base + BigInt(to) * 1_000_000n),
    status: status ?? 'ok',
    status_message: status ? 'connection refused' : '',
    attributes: { 'lab.id': 'k3v9x2mnpq', 'messaging.system': 'nats' },
    events: [],
  }))
}

export function history(labs: Lab[]): StoredEvent[] {
  return labs
    .flatMap((item, index) =>
      ['queued', 'preparing', 'starting', item.state === 'failed' ? 'failed' : 'ready'].map((fact, step) => ({
        id: `${item.id}-${fact}`,
        type: `org.datalabs.lab.${fact}.v1`,
        subject: `events.lab.${item.id}.${fact}`,
        source: '/services/launcher',
        time: new Date(Date.parse(item.created_at) + step * 400).toISOString(),
        sequence: 4000 + index * 10 + step,
        trace_id: item.trace_id ?? null,
        data: { lab: item, revision: step + 1, owner: item.owner, actor: item.owner, detail: {} },
      })),
    )
    .sort((a, b) => (a.time < b.time ? 1 : -1))
}
