/** The world of the mock platform: its labs and how they live, its catalogue, what people may have. */
import type { Datalab, Lab, LabPolicy, LaunchBody, LimitsBody, Me, Preflight } from '../src/api/model'
import { Refusal } from './answering.ts'
import { crowd, SIZES, shipped } from './catalogue.ts'
import { lab, labsOfAda, labsOfOthers } from './labs.ts'
import { MockLive } from './live.ts'
import { sampleOf, USUAL } from './telling.ts'

const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789'
const SAMPLE_MS = 2_000

/** What an operator set for one person, without what follows the site. */
function given(
  own: LimitsBody | undefined,
): Partial<Record<'max_labs' | 'max_cores' | 'max_memory_mib', number | null>> {
  if (!own) return {}
  if (own.unlimited) return { max_labs: null, max_cores: null, max_memory_mib: null }
  const { max_labs, max_cores, max_memory_mib } = own
  return {
    ...(max_labs == null ? {} : { max_labs }),
    ...(max_cores == null ? {} : { max_cores }),
    ...(max_memory_mib == null ? {} : { max_memory_mib }),
  }
}

export class World {
  labs: Lab[] = [...labsOfAda(), ...labsOfOthers()]
  readonly datalabs: Datalab[] = shipped()
  readonly live = new MockLive()
  readonly own = new Map<string, LimitsBody>()
  readonly policies = new Map<string, LabPolicy>()
  readonly site = { max_labs: 8, max_cores: 16, max_memory_mib: 32_768 }
  private readonly keys = new Map<string, string>()

  constructor() {
    setInterval(() => this.measure(), SAMPLE_MS).unref()
  }

  restore(): void {
    this.labs = [...labsOfAda(), ...labsOfOthers()]
    this.own.clear()
    this.policies.clear()
  }

  me(username: string): Me {
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

  limits(username: string) {
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
      : { used, ...this.site, ...given(this.own.get(username)) }
  }

  search(query: URLSearchParams, username: string) {
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

  preflight(body: LaunchBody, username: string): Preflight {
    const size = SIZES.find((item) => item.name === body.size) ?? SIZES[0]
    if (!size) throw new Refusal(422, 'unknown_size', 'There is no such size for this datalab')
    const limits = this.limits(username)
    const over = limits.max_cores !== null && limits.used.cores + size.cores > limits.max_cores
    const fit = size.name === 'huge' ? 'never' : over ? 'over_limit' : size.name === 'large' ? 'queue' : 'now'
    const text = {
      now: 'There is room for it now.',
      queue: 'It needs 2 cores on one machine; the largest free is 1.5. About 2 min.',
      never: 'It needs 32 cores; the largest machine of this site has 8.',
      over_limit: 'It would take you over your limit of 16 cores.',
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

  launch(body: LaunchBody, username: string, key: string): Lab {
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

  run(id: string, pace = 1): void {
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

  change(item: Lab, fields: Partial<Lab>, fact: string, more: Record<string, unknown> = {}): Lab {
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
    this.live.tell('lab', live, next.owner)
    return next
  }

  private measure(): void {
    for (const item of this.labs.filter((other) => other.state === 'ready')) {
      this.live.sample(sampleOf(item), item.owner)
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
      this.live.tell('environment', data, null)
    }
  }
}
