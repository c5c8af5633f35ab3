import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { Datalab, Readiness } from '#/api/model'
import { datalabsQuery, importProblemsQuery } from '#/api/queries'
import { count } from '#/format/amounts'
import type { Tone } from '#/labs/states'
import { Ago } from '#/parts/Ago'
import { Panel, Pending } from '#/parts/Page'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import css from './operations.module.css'

const STATES: Record<Readiness['state'], { word: string; tone: Tone; rank: number }> = {
  failed: { word: 'Failed', tone: 'bad', rank: 0 },
  unavailable: { word: 'Unavailable', tone: 'warn', rank: 1 },
  preparing: { word: 'Preparing', tone: 'move', rank: 2 },
  waiting: { word: 'Waiting', tone: 'wait', rank: 3 },
  ready: { word: 'Ready', tone: 'good', rank: 4 },
}

/** What keeps a datalab from starting at once: environments and images on their way, and folders that could not be read. */
export function Preparation() {
  return (
    <>
      <Environments />
      <Folders />
    </>
  )
}

function rankOf(datalab: Datalab): number {
  return datalab.readiness ? STATES[datalab.readiness.state].rank : 5
}

function Environments() {
  const { data, error, refetch } = useQuery(datalabsQuery({}))
  const rows = [...(data?.items ?? [])].sort(
    (a, b) => rankOf(a) - rankOf(b) || a.title.localeCompare(b.title, 'en'),
  )
  const open = rows.filter((row) => row.readiness && row.readiness.state !== 'ready')
  return (
    <Panel title="Environments and images">
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="10rem" />}
      {data && (
        <p role="status" style={{ color: 'var(--ink-2)' }}>
          {open.length === 0
            ? 'The newest version of every datalab can start at once.'
            : `${count(open.length, 'datalab')} of ${rows.length} cannot start at once yet.`}
        </p>
      )}
      <ul className={css.readiness}>
        {rows.map((datalab) => (
          <li key={datalab.slug}>
            <Link to="/datalabs/$slug" params={{ slug: datalab.slug }}>
              {datalab.title} {datalab.latest_version}
            </Link>
            <Progress readiness={datalab.readiness ?? null} />
          </li>
        ))}
      </ul>
    </Panel>
  )
}

function Progress({ readiness }: { readiness: Readiness | null }) {
  if (!readiness) return <span className={css.quiet}>Nothing to prepare, or not heard of yet</span>
  const { word, tone } = STATES[readiness.state]
  const under = readiness.state === 'preparing'
  return (
    <>
      <ToneBadge tone={tone}>{word}</ToneBadge>
      <span className={css.quiet}>
        {under && (
          <progress
            max={1}
            value={readiness.fraction}
            aria-label={`Preparation of ${readiness.datalab} ${readiness.version}`}
          />
        )}
        {readiness.state !== 'ready' && readiness.text}
      </span>
    </>
  )
}

function Folders() {
  const { data, error, refetch } = useQuery(importProblemsQuery)
  return (
    <Panel title="Folders of the catalogue">
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="4rem" />}
      {data?.length === 0 && <p style={{ color: 'var(--ink-2)' }}>Every folder was read without a fault.</p>}
      {data && data.length > 0 && (
        <>
          <p role="status" style={{ color: 'var(--ink-2)' }}>
            {count(data.length, 'folder')} could not be read. What was good before stays in the catalogue
            until it is repaired.
          </p>
          <ul className={css.faults}>
            {data.map((one) => (
              <li key={one.folder}>
                <code>{one.folder}</code>
                <span>{one.problem}</span>
                <span className={css.quiet}>
                  since <Ago at={one.since} />
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
    </Panel>
  )
}
