/** Stored events and live facts as rows of one list. */
import type { StoredEvent } from '#/api/model'
import type { EventFilter } from '#/api/queries'
import type { Fact } from '#/live/hub'

export interface Row {
  id: string
  time: string
  type: string
  entity: string
  entityId: string
  fact: string
  owner: string
  words: string
  traceId: string | null
  sequence: number | null
  data: Record<string, unknown>
}

export function rowOf(event: StoredEvent): Row {
  const [, entity = '', ...rest] = event.subject.split('.')
  return {
    id: event.id,
    time: event.time,
    type: event.type,
    entity,
    entityId: rest.slice(0, -1).join('.'),
    fact: rest.at(-1) ?? '',
    owner: ownerOf(event.data),
    words: wordsOf(event.data),
    traceId: event.trace_id ?? null,
    sequence: event.sequence,
    data: event.data,
  }
}

export function rowOfFact(fact: Fact): Row {
  return {
    id: fact.id,
    time: fact.time,
    type: fact.type,
    entity: fact.entity,
    entityId: fact.entity_id,
    fact: fact.fact,
    owner: ownerOf(fact.data),
    words: wordsOf(fact.data),
    traceId: fact.trace_id ?? null,
    sequence: null,
    data: fact.data,
  }
}

export function fits(row: Row, filter: EventFilter): boolean {
  return (
    (filter.entity ?? row.entity) === row.entity &&
    (filter.entity_id ?? row.entityId) === row.entityId &&
    (filter.fact ?? row.fact) === row.fact &&
    (filter.owner ?? row.owner) === row.owner &&
    (filter.trace_id ?? row.traceId) === row.traceId
  )
}

export interface Group {
  first: Row
  /** Earlier rows that say the same of the same thing, newest first. */
  rest: Row[]
}

/** Rows that follow each other and tell the same fact of the same thing as one: a progress of fifty steps is one line. */
export function grouped(rows: readonly Row[]): Group[] {
  const groups: Group[] = []
  for (const row of rows) {
    const last = groups.at(-1)
    const same = last && key(last.first) === key(row)
    if (same) last.rest.push(row)
    else groups.push({ first: row, rest: [] })
  }
  return groups
}

function key(row: Row): string {
  return `${row.entity}/${row.entityId}/${row.fact}`
}

function ownerOf(data: Record<string, unknown>): string {
  return typeof data.owner === 'string' ? data.owner : ''
}

/** What the event is about, in the words of the thing itself. */
function wordsOf(data: Record<string, unknown>): string {
  for (const entity of ['lab', 'datalab', 'collection', 'volume', 'readiness', 'person', 'entry']) {
    const thing = data[entity]
    if (typeof thing !== 'object' || thing === null) continue
    const named = thing as Record<string, unknown>
    const progress = named.progress as { text?: string } | null | undefined
    const words = [named.name ?? named.title ?? named.username, progress?.text || named.message || named.text]
    return words.filter((word) => typeof word === 'string' && word !== '').join(' · ')
  }
  return typeof data.username === 'string' ? data.username : ''
}
