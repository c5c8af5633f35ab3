import { Button, NumberInput, Switch, TextInput } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import type { TraceSummary } from '#/api/model'
import { ALL_TRACES, LAUNCH_SPAN, type TraceFilter, tracesQuery } from '#/api/queries'
import { duration } from '#/format/time'
import { Ago } from '#/parts/Ago'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import css from './operations.module.css'

const route = getRouteApi('/signed-in/operations/traces')

export function Traces() {
  const filter = route.useSearch()
  const navigate = route.useNavigate()
  const query = useInfiniteQuery(tracesQuery(filter))
  const everything = filter.name === ALL_TRACES
  const rows: TraceSummary[] = (query.data?.pages ?? []).flatMap((page) => page.items)
  const longest = Math.max(0.001, ...rows.map((row) => row.seconds))
  const set = (change: TraceFilter): void =>
    void navigate({ search: (before) => ({ ...before, ...change }), replace: true, resetScroll: false })
  return (
    <Panel label="Traces">
      <div className={css.filters}>
        <Field label="Lab" name="lab_id" example="k3v9x2mnpq" filter={filter} set={set} />
        <Field label="Service" name="service" example="edge" filter={filter} set={set} />
        <Field
          label="With a span named"
          name="name"
          example="launch"
          filter={{ ...filter, name: everything ? '' : (filter.name ?? LAUNCH_SPAN) }}
          set={set}
        />
        <NumberInput
          label="At least, seconds"
          size="sm"
          min={0}
          step={0.5}
          value={filter.min_seconds ?? ''}
          onChange={(value) => set({ min_seconds: Number(value) > 0 ? Number(value) : undefined })}
        />
        <Switch
          label="Launches only"
          pb={6}
          style={{ minWidth: 'max-content' }}
          checked={!everything && (filter.name ?? LAUNCH_SPAN) === LAUNCH_SPAN}
          onChange={(event) => set({ name: event.currentTarget.checked ? undefined : ALL_TRACES })}
        />
        <Switch
          label="Only with errors"
          pb={6}
          style={{ minWidth: 'max-content' }}
          checked={filter.errors_only ?? false}
          onChange={(event) => set({ errors_only: event.currentTarget.checked || undefined })}
        />
        <Button size="sm" variant="default" loading={query.isRefetching} onClick={() => void query.refetch()}>
          Look again
        </Button>
      </div>
      {query.error && <Told error={query.error} again={() => void query.refetch()} />}
      {!query.data && !query.error && <Pending height="16rem" />}
      {query.data && rows.length === 0 && (
        <p style={{ color: 'var(--ink-2)' }}>
          {everything || filter.name
            ? 'No trace fits.'
            : 'No launch fits. Other traces are behind the switch.'}
        </p>
      )}
      {rows.length > 0 && (
        <div className={partsCss.scroller}>
          <table className={partsCss.table}>
            <thead>
              <tr>
                <th scope="col">Trace</th>
                <th scope="col">Began in</th>
                <th scope="col">When</th>
                <th scope="col" data-number>
                  Took
                </th>
                <th scope="col" style={{ width: '22%' }}>
                  <span className="sr">Share of the longest</span>
                </th>
                <th scope="col" data-number>
                  Spans
                </th>
                <th scope="col">Errors</th>
                <th scope="col">Lab</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <tr key={row.trace_id}>
                  <td>
                    <Link to="/operations/traces/$traceId" params={{ traceId: row.trace_id }}>
                      {row.name}
                    </Link>{' '}
                    <code style={{ color: 'var(--ink-3)' }}>{row.trace_id.slice(0, 8)}</code>
                  </td>
                  <td>{row.service}</td>
                  <td style={{ whiteSpace: 'nowrap' }}>
                    <Ago at={row.started_at} />
                  </td>
                  <td data-number>{duration(row.seconds)}</td>
                  <td style={{ verticalAlign: 'middle' }}>
                    <div
                      style={{
                        height: '0.5rem',
                        minWidth: 2,
                        width: `${(row.seconds / longest) * 100}%`,
                        background: 'var(--series-1)',
                        borderRadius: 2,
                      }}
                    />
                  </td>
                  <td data-number>{row.spans}</td>
                  <td>{row.errors > 0 && <ToneBadge tone="bad">{row.errors}</ToneBadge>}</td>
                  <td>
                    {row.lab_id && (
                      <Link to="/labs/$labId" params={{ labId: row.lab_id }}>
                        {row.lab_id}
                      </Link>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
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

interface FieldProps {
  label: string
  name: 'lab_id' | 'service' | 'name'
  example: string
  filter: TraceFilter
  set: (change: TraceFilter) => void
}

function Field({ label, name, example, filter, set }: FieldProps) {
  const known = filter[name] ?? ''
  const take = (value: string): void => {
    const wanted = value.trim()
    if (wanted !== known) set({ [name]: wanted || undefined })
  }
  return (
    <TextInput
      key={known}
      label={label}
      size="sm"
      placeholder={example}
      defaultValue={known}
      onKeyDown={(event) => event.key === 'Enter' && take(event.currentTarget.value)}
      onBlur={(event) => take(event.currentTarget.value)}
    />
  )
}
