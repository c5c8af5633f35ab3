import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { api } from '#/api/client'
import type { Lab } from '#/api/model'
import { keys } from '#/api/queries'
import { clock, exact } from '#/format/time'
import { STATES } from '#/labs/states'
import { Panel } from '#/parts/Page'
import { useFacts } from '#/shell/live'
import { useOperator } from '#/shell/me'
import { capital } from '../facets'
import css from './lab.module.css'

/** What happened to it: for operators the stored events, for everybody what came while the page was open. */
export function Happened({ lab }: { lab: Lab }) {
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
