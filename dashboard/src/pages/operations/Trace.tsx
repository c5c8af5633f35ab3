import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { Fragment, useMemo } from 'react'
import type { Span } from '#/api/model'
import { traceQuery } from '#/api/queries'
import { count } from '#/format/amounts'
import { duration, exact } from '#/format/time'
import { Copy } from '#/parts/Copy'
import chartCss from '#/parts/charts.module.css'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import css from './operations.module.css'
import { waterfall } from './waterfall'

const route = getRouteApi('/signed-in/operations/traces/$traceId')
const COLOURS = 8

export function Trace() {
  const { traceId } = route.useParams()
  const { span: chosen } = route.useSearch()
  const navigate = route.useNavigate()
  const { data, error, refetch } = useQuery(traceQuery(traceId))
  const { bars, seconds, services } = useMemo(() => waterfall(data ?? []), [data])
  const colour = (service: string): string => `var(--series-${(services.indexOf(service) % COLOURS) + 1})`
  const errors = bars.filter((bar) => bar.span.status === 'error').length
  const lab = bars.map((bar) => labOf(bar.span)).find(Boolean)
  return (
    <Panel label="Trace">
      <div style={{ display: 'flex', flexWrap: 'wrap', gap: '0.5rem 1rem', alignItems: 'center' }}>
        <h2>{bars[0]?.span.name ?? 'Trace'}</h2>
        <Copy text={traceId} what="trace id" />
        {data && (
          <span style={{ color: 'var(--ink-2)' }}>
            {duration(seconds)} · {count(bars.length, 'span')} · {count(services.length, 'service')}
          </span>
        )}
        {errors > 0 && <ToneBadge tone="bad">{count(errors, 'error')}</ToneBadge>}
        {lab && (
          <Link to="/labs/$labId" params={{ labId: lab }}>
            Lab {lab}
          </Link>
        )}
        <Link to="/operations/events" search={{ trace_id: traceId }}>
          Its events
        </Link>
      </div>
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="20rem" />}
      {data?.length === 0 && <p>Its spans have not arrived, or are older than what is kept.</p>}
      <ul className={chartCss.legend} style={{ marginTop: 0 }}>
        {services.map((service) => (
          <li key={service}>
            <i style={{ background: colour(service) }} aria-hidden />
            {service}
          </li>
        ))}
      </ul>
      <div className={css.waterfall}>
        {bars.map(({ span, depth, start, seconds: took, from, width, orphan }) => (
          <Fragment key={span.span_id}>
            <button
              type="button"
              className={css.span}
              aria-expanded={chosen === span.span_id}
              onClick={() =>
                void navigate({
                  search: { span: chosen === span.span_id ? undefined : span.span_id },
                  replace: true,
                  resetScroll: false,
                })
              }
            >
              <span
                className={css.spanName}
                style={{ paddingInlineStart: `${Math.min(depth, 12) * 0.875}rem` }}
              >
                <b title={span.name}>{span.name}</b>
                <small>
                  {span.service}
                  {orphan && ', parent missing'}
                  {span.status === 'error' && ', error'}
                </small>
              </span>
              <span className={css.lane} aria-hidden>
                <i
                  data-error={span.status === 'error' || undefined}
                  style={{
                    insetInlineStart: `${from * 100}%`,
                    width: `${width * 100}%`,
                    background: colour(span.service),
                  }}
                />
              </span>
              <span className={css.took}>{duration(took)}</span>
            </button>
            {chosen === span.span_id && <SpanFacts span={span} start={start} />}
          </Fragment>
        ))}
      </div>
    </Panel>
  )
}

function labOf(span: Span): string | null {
  const value = span.attributes?.['lab.id'] ?? span.attributes?.['datalabs.lab.id'] ?? span.attributes?.lab_id
  return typeof value === 'string' ? value : null
}

function SpanFacts({ span, start }: { span: Span; start: number }) {
  return (
    <div className={css.more}>
      <dl className={partsCss.facts}>
        <dt>Starts</dt>
        <dd>
          {duration(start)} into the trace, {exact(span.start_ns / 1e6)}
        </dd>
        <dt>Kind</dt>
        <dd>{span.kind}</dd>
        <dt>Span</dt>
        <dd>
          <Copy text={span.span_id} what="span id" />
        </dd>
        {span.status_message && (
          <>
            <dt>Error</dt>
            <dd>{span.status_message}</dd>
          </>
        )}
        {Object.entries(span.attributes ?? {}).map(([name, value]) => (
          <Fragment key={name}>
            <dt>{name}</dt>
            <dd>
              <code>{typeof value === 'string' ? value : JSON.stringify(value)}</code>
            </dd>
          </Fragment>
        ))}
        {(span.events ?? []).map((event, index) => (
          <Fragment key={index}>
            <dt>{String(event.name ?? 'event')}</dt>
            <dd>
              <code>{JSON.stringify(event)}</code>
            </dd>
          </Fragment>
        ))}
      </dl>
    </div>
  )
}
