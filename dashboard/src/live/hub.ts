/** Events into what is on screen: the query cache by revision, the sample store, notices, and the tail of events. */
import type { QueryClient } from '@tanstack/react-query'
import type {
  Collection,
  Datalab,
  DatalabDetail,
  DatalabPage,
  Lab,
  Me,
  Readiness,
  Sample,
  Volume,
} from '#/api/model'
import { keys } from '#/api/queries'
import { ended } from '#/labs/states'
import { labJournal } from './journal'
import {
  mergeCollection,
  mergeDatalab,
  mergeDetailReadiness,
  mergeLab,
  mergeReadiness,
  mergeVolume,
  newer,
  Revisions,
} from './merge'
import { type Notice, noticeOf } from './notices'
import { samples } from './samples'
import type { ServerEvent } from './sse'

/** One fact as the event stream tells it. */
export interface Fact {
  id: string
  type: string
  entity: string
  entity_id: string
  fact: string
  time: string
  revision: number
  trace_id?: string | null
  data: Record<string, unknown>
}

const TAIL = 300

export class LiveHub {
  private readonly revisions = new Revisions()
  private factTail: readonly Fact[] = []
  private readonly listeners = new Set<() => void>()
  private refreshTimer: ReturnType<typeof setTimeout> | undefined

  constructor(
    private readonly client: QueryClient,
    private readonly me: Me,
    private readonly notify: (notice: Notice) => void,
  ) {}

  /** The newest facts that came while this page was open, newest first. */
  readonly tail = (): readonly Fact[] => this.factTail

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  take(event: ServerEvent): void {
    if (event.name === 'hello' || event.name === 'session_ended') return
    if (event.name === 'fresh') {
      this.catchUp()
      return
    }
    if (event.name === 'reset') {
      void this.client.invalidateQueries()
      return
    }
    const body: unknown = JSON.parse(event.data)
    if (event.name === 'sample') {
      samples.add(body as Sample)
      return
    }
    const fact = body as Fact
    this.factTail = [fact, ...this.factTail].slice(0, TAIL)
    for (const listener of this.listeners) listener()
    this.apply(fact)
  }

  /** The stream begins now: what was read before it may lack what happened in between. */
  private catchUp(): void {
    const live: readonly unknown[] = [...keys.labs, ...keys.allLabs, 'lab', 'timeline']
    void this.client.invalidateQueries({ predicate: ({ queryKey }) => live.includes(queryKey[0]) })
  }

  private apply(fact: Fact): void {
    const { data } = fact
    switch (fact.entity) {
      case 'lab':
        if (data.lab) this.lab(fact, data.lab as Lab)
        break
      case 'environment':
        if (data.readiness) this.readiness(data.readiness as Readiness)
        break
      case 'datalab':
        if (data.datalab) this.datalab(fact, data.datalab as Datalab)
        break
      case 'collection':
        if (data.collection) this.collection(data.collection as Collection)
        break
      case 'volume':
        if (data.volume) this.volume(data.volume as Volume)
        break
      case 'usage':
        this.refresh(keys.usage)
        break
      default:
        break
    }
  }

  /** A lab as an event or a reply tells it. */
  lab(fact: Fact | null, lab: Lab): void {
    if (!this.revisions.news(`lab/${lab.id}`, lab.revision)) return
    labJournal.add(lab)
    if (lab.owner === this.me.username) {
      this.client.setQueryData<readonly Lab[]>(keys.labs, (labs) => labs && mergeLab(labs, lab))
    }
    this.client.setQueryData<readonly Lab[]>(keys.allLabs, (labs) => labs && mergeLab(labs, lab))
    this.client.setQueryData<Lab>(keys.lab(lab.id), (known) => known && newer(known, lab))
    this.refresh(keys.timeline(lab.id))
    if (ended(lab)) {
      samples.forget(lab.id)
      this.refresh(keys.logs(lab.id))
    }
    if (fact?.fact !== 'progressed') {
      this.refresh(keys.preflight, ['limits'], keys.capacity, keys.nodes, keys.queue)
    }
    const notice = fact && lab.owner === this.me.username ? noticeOf(fact.fact, lab, data(fact)) : null
    if (notice) this.notify(notice)
  }

  private readiness(readiness: Readiness): void {
    const key = `environment/${readiness.datalab}/${readiness.version}`
    if (!this.revisions.news(key, readiness.revision ?? 0)) return
    this.client.setQueriesData<DatalabPage>(
      { queryKey: keys.datalabs },
      (page) => page && mergeReadiness(page, readiness),
    )
    this.client.setQueryData<DatalabDetail>(
      keys.datalab(readiness.datalab),
      (detail) => detail && mergeDetailReadiness(detail, readiness),
    )
    if (readiness.state === 'ready') this.refresh(keys.preflight)
  }

  private datalab(fact: Fact, datalab: Datalab): void {
    this.client.setQueriesData<DatalabPage>(
      { queryKey: keys.datalabs },
      (page) => page && mergeDatalab(page, datalab),
    )
    if (fact.fact !== 'changed') this.refresh(keys.datalabs)
    this.refresh(keys.datalab(datalab.slug))
  }

  private collection(collection: Collection): void {
    this.client.setQueryData<readonly Collection[]>(
      keys.collections,
      (items) => items && mergeCollection(items, collection),
    )
    this.client.setQueryData<Collection>(
      keys.collection(collection.id),
      (known) => known && newer(known, collection),
    )
  }

  private volume(volume: Volume): void {
    if (volume.owner !== this.me.username) return
    this.client.setQueryData<readonly Volume[]>(keys.volumes, (items) => items && mergeVolume(items, volume))
  }

  private pending = new Map<string, readonly unknown[]>()

  /** Read derived answers again; many events in one burst cost one request for each. */
  private refresh(...queryKeys: (readonly unknown[])[]): void {
    for (const key of queryKeys) this.pending.set(JSON.stringify(key), key)
    this.refreshTimer ??= setTimeout(() => {
      this.refreshTimer = undefined
      const wanted = [...this.pending.values()]
      this.pending.clear()
      for (const queryKey of wanted) void this.client.invalidateQueries({ queryKey })
    }, 60)
  }
}

function data(fact: Fact): Record<string, unknown> {
  const detail = fact.data.detail
  return typeof detail === 'object' && detail !== null ? (detail as Record<string, unknown>) : {}
}
