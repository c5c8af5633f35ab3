import { Button, NativeSelect, Switch } from '@mantine/core'
import { IconAlertTriangle } from '@tabler/icons-react'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { useEffect, useMemo, useRef, useState } from 'react'
import { api } from '#/api/client'
import type { Lab, Timeline } from '#/api/model'
import { keys, labQuery, logsQuery, metricsQuery, timelineQuery } from '#/api/queries'
import { cores, memory, resources } from '#/format/amounts'
import { clock, duration, exact, millis } from '#/format/time'
import { DatalabIcon } from '#/labs/DatalabIcon'
import { ExtendButton, LastLines, OpenButton, RestartButtons, StopButton, TimeLeft } from '#/labs/LabCard'
import { PhaseBar } from '#/labs/PhaseBar'
import { phaseWord, segments } from '#/labs/phases'
import { advice, canOpen, coming, ended, REASONS, STATES, sentence } from '#/labs/states'
import { useIcons } from '#/labs/useIcons'
import { useSamples } from '#/live/samples'
import { Copy } from '#/parts/Copy'
import { LineChart } from '#/parts/LineChart'
import { Log } from '#/parts/Log'
import { useFastNow } from '#/parts/now'
import { Page, Panel, Shape, Waiting } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { StateBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import { useFacts } from '#/shell/live'
import { useMe, useOperator } from '#/shell/me'
import { capital } from './facets'
import css from './lab.module.css'

const route = getRouteApi('/signed-in/labs/$labId')

/** Why is it like this? */
export function LabPage() {
  const { labId } = route.useParams()
  const { attempt } = route.useSearch()
  const { data: lab, error, refetch } = useQuery(labQuery(labId))
  if (error) {
    return (
      <Page title="Lab">
        <Told error={error} again={() => void refetch()}>
          <Link to="/labs">To my labs</Link>
        </Told>
      </Page>
    )
  }
  if (!lab) {
    return (
      <Page title="Lab" bare>
        <Waiting what="the lab">
          <div className={css.column}>
            <Shape height="4rem" />
            <Shape height="12rem" />
            <Shape height="16rem" />
          </div>
        </Waiting>
      </Page>
    )
  }
  const shown = Math.min(attempt ?? lab.attempt, lab.attempt)
  return (
    <Page title={lab.name} bare wide>
      <Head lab={lab} />
      {lab.state === 'failed' && (
        <div className={partsCss.told} data-tone="bad">
          <IconAlertTriangle size={20} aria-hidden />
          <div>
            <b>{lab.message || (lab.reason ? REASONS[lab.reason] : 'It failed.')}</b>
            <p>Your files are safe. {advice(lab)}</p>
            {(lab.exit_code != null || lab.signal != null) && (
              <div className={partsCss.fine}>
                {lab.exit_code != null && <span>Exit code {lab.exit_code}</span>}
                {lab.signal != null && <span>Signal {lab.signal}</span>}
                {lab.reason && (
                  <span>
                    Code <code>{lab.reason}</code>
                  </span>
                )}
              </div>
            )}
          </div>
        </div>
      )}
      <div className={css.columns}>
        <div className={css.column}>
          <TimelinePanel lab={lab} attempt={shown} />
          {(lab.state === 'ready' || lab.state === 'unreachable' || lab.state === 'stopping') && (
            <MetricsPanel lab={lab} />
          )}
          <LogPanel lab={lab} attempt={shown} />
        </div>
        <div className={css.column}>
          <Facts lab={lab} />
          <Happened lab={lab} />
        </div>
      </div>
    </Page>
  )
}

function Head({ lab }: { lab: Lab }) {
  const icons = useIcons()
  const me = useMe()
  const text = sentence(lab)
  const running = lab.state === 'ready' || lab.state === 'unreachable'
  return (
    <header className={css.head}>
      <div className={css.who}>
        <DatalabIcon url={icons.get(lab.datalab)} kind={lab.kind} size={56} />
        <div style={{ minWidth: 0 }}>
          <h1>{lab.name}</h1>
          <p>
            <StateBadge state={lab.state} />
            <Link to="/datalabs/$slug" params={{ slug: lab.datalab }}>
              {lab.datalab_title || lab.datalab} {lab.version}
            </Link>
            {lab.owner !== me.username && <span>of {lab.owner}</span>}
            {text && lab.state !== 'failed' && <span>{text}</span>}
          </p>
        </div>
      </div>
      <div className={css.acts}>
        {running && (
          <>
            <TimeLeft lab={lab} />
            {lab.expires_at && <ExtendButton lab={lab} size="sm" />}
          </>
        )}
        {coming(lab) && (
          <Button component={Link} to={`/labs/${lab.id}/launching`} variant="default">
            Watch
          </Button>
        )}
        {!ended(lab) && <StopButton lab={lab} />}
        {ended(lab) && <RestartButtons lab={lab} strong />}
        {canOpen(lab) && lab.owner === me.username && <OpenButton lab={lab} />}
      </div>
    </header>
  )
}

function TimelinePanel({ lab, attempt }: { lab: Lab; attempt: number }) {
  const {
    data: timeline,
    error,
    refetch,
  } = useQuery(timelineQuery(lab.id, attempt === lab.attempt ? undefined : attempt))
  const navigate = route.useNavigate()
  return (
    <Panel
      title="Launch"
      actions={
        lab.attempt > 1 && (
          <NativeSelect
            size="xs"
            aria-label="Attempt"
            value={attempt}
            onChange={(event) => {
              const chosen = Number(event.currentTarget.value)
              void navigate({
                search: { attempt: chosen === lab.attempt ? undefined : chosen },
                replace: true,
                resetScroll: false,
              })
            }}
            data={Array.from({ length: lab.attempt }, (_, index) => ({
              value: String(lab.attempt - index),
              label: `Attempt ${lab.attempt - index}`,
            }))}
          />
        )
      }
    >
      {error && <Told error={error} again={() => void refetch()} />}
      {!timeline && !error && <Shape height="8rem" />}
      {timeline && <TimelineTable timeline={timeline} lab={lab} current={attempt === lab.attempt} />}
    </Panel>
  )
}

function TimelineTable({ timeline, lab, current }: { timeline: Timeline; lab: Lab; current: boolean }) {
  const now = useFastNow()
  const going = current && coming(lab)
  const parts = segments(timeline, now, !going)
  const steps = new Map(timeline.phases.map((phase) => [phase.name, phase.steps ?? []]))
  const longest = Math.max(0.001, ...parts.map((part) => Math.max(part.seconds, part.usual ?? 0)))
  return (
    <>
      <p>
        {going ? 'Launching for ' : 'From the request to ready in '}
        <b>{duration(going ? (now - millis(lab.created_at)) / 1000 : timeline.seconds)}</b>
        {Object.keys(timeline.usual ?? {}).length > 0 &&
          `; usually ${duration(Object.values(timeline.usual ?? {}).reduce((sum, value) => sum + value, 0))}`}
      </p>
      <PhaseBar segments={parts} compact failed={lab.state === 'failed' && current} />
      <div className={partsCss.scroller}>
        <table className={partsCss.table}>
          <thead>
            <tr>
              <th scope="col">Phase</th>
              <th scope="col" data-number>
                Took
              </th>
              <th scope="col" data-number>
                Usually
              </th>
              <th scope="col" style={{ width: '35%' }}>
                <span className="sr">Share</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {parts.map((part) => (
              <tr key={part.name}>
                <td>
                  {phaseWord(part.name)}
                  {part.text && (
                    <div style={{ color: 'var(--ink-3)', fontSize: '0.8125rem' }}>{part.text}</div>
                  )}
                  {steps.get(part.name)?.map((step) => (
                    <div key={`${step.name}${step.started_at}`} className={css.step}>
                      <span>{step.text || phaseWord(step.name)}</span>
                      <span>{duration(step.seconds)}</span>
                    </div>
                  ))}
                </td>
                <td data-number>{part.state === 'ahead' ? '–' : duration(part.seconds)}</td>
                <td data-number>{part.usual === null ? '–' : duration(part.usual)}</td>
                <td style={{ verticalAlign: 'middle' }}>
                  <div
                    className={css.bar}
                    style={{
                      width: `${(part.seconds / longest) * 100}%`,
                      background: part.state === 'now' ? 'var(--move-line)' : undefined,
                    }}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  )
}

function MetricsPanel({ lab }: { lab: Lab }) {
  useQuery(metricsQuery(lab.id))
  const samples = useSamples(lab.id)
  const cpu = useMemo(
    () => samples.map((sample) => ({ at: millis(sample.at), value: sample.cores })),
    [samples],
  )
  const used = useMemo(
    () => samples.map((sample) => ({ at: millis(sample.at), value: sample.memory_mib })),
    [samples],
  )
  const last = samples.at(-1)
  return (
    <Panel title="CPU and memory">
      <LineChart label="CPU" points={cpu} max={last?.max_cores ?? lab.cores} words={cores} />
      <LineChart
        label="Memory"
        points={used}
        max={last?.max_memory_mib ?? lab.memory_mib}
        words={memory}
        colour="var(--series-3)"
      />
    </Panel>
  )
}

/** The end of the log; it is read again with each sample of the lab, so it follows a running lab without a clock. */
function LogPanel({ lab, attempt }: { lab: Lab; attempt: number }) {
  const client = useQueryClient()
  const { data, error, refetch } = useQuery(logsQuery(lab.id, attempt === lab.attempt ? undefined : attempt))
  const [follow, setFollow] = useState(true)
  const box = useRef<HTMLElement>(null)
  const newest = useSamples(lab.id).at(-1)?.at
  useEffect(() => {
    if (newest && follow && !document.hidden) void client.invalidateQueries({ queryKey: keys.logs(lab.id) })
  }, [client, follow, lab.id, newest])
  const lines = data?.lines
  useEffect(() => {
    if (follow && lines && box.current) box.current.scrollTop = box.current.scrollHeight
  }, [follow, lines])
  const empty = data && data.lines.length === 0
  return (
    <Panel
      title="Log"
      actions={
        <Switch
          size="sm"
          label="Follow"
          checked={follow}
          onChange={(event) => setFollow(event.currentTarget.checked)}
        />
      }
    >
      {error && (lab.last_lines ?? []).length > 0 && <LastLines lab={lab} />}
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Shape height="12rem" />}
      {empty && <p style={{ color: 'var(--ink-2)' }}>It has written nothing yet.</p>}
      {data && !empty && (
        <>
          {data.truncated && (
            <p style={{ color: 'var(--ink-3)', fontSize: '0.8125rem' }}>The last {data.lines.length} lines</p>
          )}
          <Log box={box} label="Log lines" text={data.lines.join('\n')} className={css.log} />
        </>
      )}
    </Panel>
  )
}

function Facts({ lab }: { lab: Lab }) {
  const operator = useOperator()
  const parameters = Object.entries(lab.parameters ?? {})
  return (
    <Panel title="What it is">
      <dl className={partsCss.facts}>
        <dt>Id</dt>
        <dd>
          <Copy text={lab.id} what="id" />
        </dd>
        <dt>Size</dt>
        <dd>
          {lab.size} · {resources(lab.cores, lab.memory_mib)}
        </dd>
        {lab.runtime && (
          <>
            <dt>Runs as</dt>
            <dd>{lab.runtime}</dd>
          </>
        )}
        <dt>Owner</dt>
        <dd>{lab.owner}; nobody else has access</dd>
        <dt>Launched</dt>
        <dd>{exact(lab.created_at)}</dd>
        {lab.ready_at && (
          <>
            <dt>Ready</dt>
            <dd>{exact(lab.ready_at)}</dd>
          </>
        )}
        {lab.ended_at && (
          <>
            <dt>Ended</dt>
            <dd>{exact(lab.ended_at)}</dd>
          </>
        )}
        {lab.reason && (
          <>
            <dt>Reason</dt>
            <dd>{REASONS[lab.reason]}</dd>
          </>
        )}
        {lab.expires_at && !ended(lab) && (
          <>
            <dt>Ends</dt>
            <dd>{exact(lab.expires_at)}</dd>
          </>
        )}
        <dt>Collections</dt>
        <dd>
          {(lab.collections ?? []).length === 0
            ? 'None'
            : (lab.collections ?? []).map((id) => (
                <div key={id}>
                  <Link to="/data/$collectionId" params={{ collectionId: id }}>
                    <code>/data/{id}</code>
                  </Link>
                </div>
              ))}
        </dd>
        {parameters.length > 0 && (
          <>
            <dt>Parameters</dt>
            <dd>
              {parameters.map(([name, value]) => (
                <div key={name}>
                  {name}: <code>{typeof value === 'string' ? value : JSON.stringify(value)}</code>
                </div>
              ))}
            </dd>
          </>
        )}
        {lab.trace_id && (
          <>
            <dt>Trace</dt>
            <dd>
              {operator ? (
                <Link to="/operations/traces/$traceId" params={{ traceId: lab.trace_id }}>
                  {lab.trace_id.slice(0, 16)}
                </Link>
              ) : (
                <Copy text={lab.trace_id} what="trace id" shown={lab.trace_id.slice(0, 16)} />
              )}
            </dd>
          </>
        )}
      </dl>
    </Panel>
  )
}

/** What happened to it: for operators the stored events, for everybody what came while the page was open. */
function Happened({ lab }: { lab: Lab }) {
  const operator = useOperator()
  const facts = useFacts().filter((fact) => fact.entity === 'lab' && fact.entity_id === lab.id)
  const { data } = useQuery({
    queryKey: [...keys.history, 'lab', lab.id],
    queryFn: ({ signal }) =>
      api.get('/api/v1/events/history', { query: { entity: 'lab', entity_id: lab.id, limit: 50 }, signal }),
    enabled: operator,
  })
  const marks = [
    { at: lab.created_at, text: 'Launched' },
    ...(lab.started_at ? [{ at: lab.started_at, text: 'Its program began' }] : []),
    ...(lab.ready_at ? [{ at: lab.ready_at, text: 'Ready' }] : []),
    ...(lab.ended_at ? [{ at: lab.ended_at, text: STATES[lab.state].word }] : []),
  ]
  const stored = data?.items.map((event) => ({
    at: event.time,
    text: happening(event.subject.split('.').at(-1) ?? '', event.data),
  }))
  const live = facts.map((fact) => ({ at: fact.time, text: happening(fact.fact, fact.data) }))
  const rows = [...(stored ?? marks), ...live]
    .filter(
      (row, index, all) => all.findIndex((other) => other.text === row.text && other.at === row.at) === index,
    )
    .sort((a, b) => (a.at < b.at ? 1 : -1))
    .slice(0, 40)
  return (
    <Panel
      title="What happened"
      actions={
        operator && (
          <Link to="/operations/events" search={{ entity: 'lab', entity_id: lab.id }}>
            All events
          </Link>
        )
      }
    >
      <ol className={css.events}>
        {rows.map((row) => (
          <li key={`${row.at}${row.text}`}>
            <time dateTime={row.at} title={exact(row.at)}>
              {clock(row.at)}
            </time>
            <span>{row.text}</span>
          </li>
        ))}
      </ol>
    </Panel>
  )
}

/** A fact in a few words: what the lab did then, else the fact's own name. */
function happening(fact: string, data: Record<string, unknown>): string {
  const lab = data.lab as Partial<Lab> | undefined
  if (fact === 'progressed') return lab?.progress?.text || 'Went on'
  const word = capital(fact)
  const more = fact === 'failed' || fact === 'stopped' ? lab?.message : lab?.progress?.text
  return more ? `${word}: ${more}` : word
}
