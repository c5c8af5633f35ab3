import { Button, Switch, TextInput } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { useMemo, useRef, useState } from 'react'
import type { StoredEvent } from '#/api/model'
import { type EventFilter, historyQuery } from '#/api/queries'
import { clock, day, exact } from '#/format/time'
import type { Fact } from '#/live/hub'
import { Log } from '#/parts/Log'
import { useSlowNow } from '#/parts/now'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { Told } from '#/parts/Told'
import { useFacts } from '#/shell/live'
import css from './operations.module.css'
import { fits, type Group, grouped, type Row, rowOf, rowOfFact } from './rows'

/** So many repetitions are folded into one line. */
const FOLDED_FROM = 3

const route = getRouteApi('/signed-in/operations/events')
const FIELDS: readonly { name: keyof EventFilter; label: string; example: string }[] = [
  { name: 'entity', label: 'About', example: 'lab' },
  { name: 'fact', label: 'Fact', example: 'failed' },
  { name: 'entity_id', label: 'Id', example: 'k3v9x2mnpq' },
  { name: 'owner', label: 'Owner', example: 'ada' },
  { name: 'trace_id', label: 'Trace', example: '' },
]

/** What happened, newest first; what happens now comes on top by itself. */
export function Events() {
  const filter = route.useSearch()
  const navigate = route.useNavigate()
  const query = useInfiniteQuery(historyQuery(filter))
  const facts = useFacts()
  const [live, setLive] = useState(true)
  const frozen = useRef<readonly Fact[]>(facts)
  if (live) frozen.current = facts
  const now = useSlowNow()
  const opened = useRef(Date.now())
  const rows = useMemo(() => {
    const stored = (query.data?.pages ?? []).flatMap((page: { items: StoredEvent[] }) =>
      page.items.map(rowOf),
    )
    const known = new Set(stored.map((row) => row.id))
    const fresh = (live ? facts : frozen.current)
      .map(rowOfFact)
      .filter((row) => !known.has(row.id) && fits(row, filter))
    return [...fresh, ...stored].sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0))
  }, [facts, filter, live, query.data])
  const set = (name: keyof EventFilter, value: string): void =>
    void navigate({
      search: (before) => ({ ...before, [name]: value.trim() || undefined }),
      replace: true,
      resetScroll: false,
    })
  return (
    <Panel label="Events">
      <div className={css.filters}>
        {FIELDS.map(({ name, label, example }) => (
          <TextInput
            key={`${name}${filter[name] ?? ''}`}
            label={label}
            size="sm"
            placeholder={example}
            defaultValue={filter[name] ?? ''}
            onKeyDown={(event) => event.key === 'Enter' && set(name, event.currentTarget.value)}
            onBlur={(event) =>
              event.currentTarget.value !== (filter[name] ?? '') && set(name, event.currentTarget.value)
            }
          />
        ))}
        <Switch
          label="Live"
          checked={live}
          onChange={(event) => setLive(event.currentTarget.checked)}
          pb={6}
        />
      </div>
      {query.error && <Told error={query.error} again={() => void query.refetch()} />}
      {!query.data && !query.error && <Pending height="16rem" />}
      {query.data && rows.length === 0 && <p style={{ color: 'var(--ink-2)' }}>No stored event fits.</p>}
      <div>
        {grouped(rows).map((group) => (
          <EventGroup key={group.first.id} group={group} now={now} since={opened.current} />
        ))}
      </div>
      {query.hasNextPage && (
        <Button
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          Show older ones
        </Button>
      )}
    </Panel>
  )
}

function EventGroup({ group, now, since }: { group: Group; now: number; since: number }) {
  const [all, setAll] = useState(false)
  const few = group.rest.length < FOLDED_FROM
  const shown = all || few ? [group.first, ...group.rest] : [group.first]
  return (
    <>
      {shown.map((row) => (
        <EventRow key={row.id} row={row} now={now} fresh={Date.parse(row.time) > since} />
      ))}
      {!all && !few && (
        <Button variant="subtle" size="compact-xs" ml="5.5rem" onClick={() => setAll(true)}>
          and {group.rest.length} like it before
        </Button>
      )}
    </>
  )
}

function EventRow({ row, now, fresh }: { row: Row; now: number; fresh: boolean }) {
  const [open, setOpen] = useState(false)
  const today = day(row.time, now) === day(now, now)
  return (
    <details
      className={`${css.event} ${fresh ? css.fresh : ''}`}
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>
        <time dateTime={row.time} title={exact(row.time)}>
          {today ? clock(row.time) : day(row.time, now)}
        </time>
        <b>
          {row.entity}.{row.fact}
        </b>
        <code>{row.entityId}</code>
        <span>{row.words}</span>
        <span>{row.owner}</span>
      </summary>
      {open && (
        <div className={css.more}>
          <div className={partsCss.fine}>
            <span>{exact(row.time)}</span>
            <span>{row.type}</span>
            {row.sequence !== null && <span>sequence {row.sequence}</span>}
            {row.entity === 'lab' && (
              <Link to="/labs/$labId" params={{ labId: row.entityId }}>
                Lab
              </Link>
            )}
            {row.traceId && (
              <Link to="/operations/traces/$traceId" params={{ traceId: row.traceId }}>
                Trace
              </Link>
            )}
          </div>
          <Log
            label="Data of the event"
            text={JSON.stringify(row.data, null, 2)}
            style={{ maxHeight: '24rem', marginTop: '0.5rem' }}
          />
        </div>
      )}
    </details>
  )
}
