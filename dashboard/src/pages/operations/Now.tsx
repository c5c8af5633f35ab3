import { Button } from '@mantine/core'
import { useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useEffect } from 'react'
import type { Capacity, PartHealth } from '#/api/model'
import {
  allLabsQuery,
  capacityQuery,
  deadLettersQuery,
  importProblemsQuery,
  keys,
  platformQuery,
} from '#/api/queries'
import { count, memory, resources, trim } from '#/format/amounts'
import { phaseWord } from '#/labs/phases'
import { ended, sentence, type Tone } from '#/labs/states'
import { Ago } from '#/parts/Ago'
import { Meter } from '#/parts/Meter'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { StateBadge, ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import { useLiveStatus } from '#/shell/live'
import css from './operations.module.css'

const RUNTIMES: Record<Capacity['runtimes'][number], string> = {
  process: 'processes',
  container: 'containers',
  vm: 'virtual machines',
}
const WELL = ['ok', 'ready', 'running', 'up', 'healthy']
const DOWN = ['down', 'failed', 'dead', 'away', 'stopped', 'unreachable']

function toneOf(part: PartHealth): Tone {
  const state = part.state.toLowerCase()
  if (WELL.includes(state)) return 'good'
  return DOWN.includes(state) ? 'bad' : 'warn'
}

export function Now() {
  const client = useQueryClient()
  const live = useLiveStatus()
  // Health has no events of its own: a connection that came back is the moment to look again.
  useEffect(() => {
    if (live.state === 'open') void client.invalidateQueries({ queryKey: keys.platform })
  }, [client, live.state])
  return (
    <>
      <Numbers />
      <Parts />
      <CapacityPanel />
      <Everybody />
    </>
  )
}

function Numbers() {
  const { data: labs } = useQuery(allLabsQuery)
  const { data: capacity } = useQuery(capacityQuery)
  const { data: letters } = useInfiniteQuery(deadLettersQuery)
  const { data: problems } = useQuery(importProblemsQuery)
  const live = labs?.filter((lab) => !ended(lab)) ?? []
  const open = letters?.pages.flatMap((page) => page.items).filter((letter) => letter.state === 'open').length
  const here = (state: string): number => live.filter((lab) => lab.state === state).length
  return (
    <div className={css.numbers}>
      <a href="#everybody">
        <b>{labs ? here('ready') : '–'}</b>ready
      </a>
      <a href="#everybody">
        <b>{labs ? here('preparing') + here('starting') : '–'}</b>on the way
      </a>
      <Link to="/operations/queue">
        <b>{capacity?.queued ?? '–'}</b>in the queue
      </Link>
      <a href="#everybody">
        <b>{labs ? here('unreachable') : '–'}</b>unreachable
      </a>
      <Link to="/operations/dead-letters">
        <b>{open ?? '–'}</b>dead letters open
      </Link>
      <Link to="/operations/preparation">
        <b>{problems?.length ?? '–'}</b>folders with faults
      </Link>
    </div>
  )
}

function Parts() {
  const { data, error, refetch, isFetching } = useQuery(platformQuery)
  const wrong = data?.filter((part) => toneOf(part) !== 'good') ?? []
  return (
    <Panel
      title="Parts of the platform"
      actions={
        <Button
          size="xs"
          variant="default"
          loading={isFetching && data !== undefined}
          onClick={() => void refetch()}
        >
          Look again
        </Button>
      }
    >
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="8rem" />}
      {data && (
        <p role="status" style={{ color: 'var(--ink-2)' }}>
          {wrong.length === 0
            ? 'All parts do well.'
            : `${wrong.map((part) => part.name).join(', ')} ${wrong.length === 1 ? 'needs' : 'need'} a look.`}
        </p>
      )}
      <ul className={css.parts}>
        {data?.map((part) => (
          <li key={part.name}>
            <b>{part.name}</b>
            <ToneBadge tone={toneOf(part)}>{part.state}</ToneBadge>
            {(part.text || part.seen_at) && (
              <small>
                {part.text}
                {part.text && part.seen_at && ' · '}
                {part.seen_at && (
                  <>
                    seen <Ago at={part.seen_at} />
                  </>
                )}
              </small>
            )}
          </li>
        ))}
      </ul>
    </Panel>
  )
}

function CapacityPanel() {
  const { data, error, refetch } = useQuery(capacityQuery)
  return (
    <Panel title="Capacity" actions={<Link to="/operations/nodes">By machine</Link>}>
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="4rem" />}
      {data && (
        <>
          <div
            style={{
              display: 'grid',
              gap: '1.25rem',
              gridTemplateColumns: 'repeat(auto-fit, minmax(min(100%, 18rem), 1fr))',
            }}
          >
            <Meter
              label="Cores (may be overcommitted)"
              used={data.cores_taken}
              max={data.cores}
              text={`${trim(data.cores_taken, 2)} of ${trim(data.cores, 2)}`}
            />
            <Meter
              label="Memory"
              used={data.memory_taken_mib}
              max={data.memory_mib}
              text={`${memory(data.memory_taken_mib)} of ${memory(data.memory_mib)}`}
            />
          </div>
          <p style={{ color: 'var(--ink-2)' }}>
            {data.runtimes.length === 0
              ? 'No scheduler answers.'
              : `Labs run as ${data.runtimes.map((runtime) => RUNTIMES[runtime]).join(', ')}.`}{' '}
            {(data.notices ?? []).join(' ')}
          </p>
        </>
      )}
    </Panel>
  )
}

function Everybody() {
  const { data, error, refetch } = useQuery(allLabsQuery)
  const labs = data?.filter((lab) => !ended(lab)) ?? []
  return (
    <Panel
      title={data ? count(labs.length, 'lab of everybody', 'labs of everybody') : 'Labs of everybody'}
      id="everybody"
    >
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="10rem" />}
      {data && labs.length === 0 && <p style={{ color: 'var(--ink-2)' }}>No lab is running.</p>}
      {labs.length > 0 && (
        <div className={partsCss.scroller}>
          <table className={partsCss.table}>
            <thead>
              <tr>
                <th scope="col">State</th>
                <th scope="col">Lab</th>
                <th scope="col">Owner</th>
                <th scope="col">Datalab</th>
                <th scope="col">Size</th>
                <th scope="col">Launched</th>
                <th scope="col">Phase</th>
                <th scope="col">
                  <span className="sr">Links</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {labs.map((lab) => (
                <tr key={lab.id}>
                  <td>
                    <StateBadge state={lab.state} />
                  </td>
                  <td style={{ maxWidth: '20rem', overflowWrap: 'anywhere' }}>
                    <Link to="/labs/$labId" params={{ labId: lab.id }}>
                      {lab.name}
                    </Link>
                  </td>
                  <td>
                    <Link to="/operations/events" search={{ owner: lab.owner }}>
                      {lab.owner}
                    </Link>
                  </td>
                  <td>
                    {lab.datalab} {lab.version}
                  </td>
                  <td style={{ whiteSpace: 'nowrap' }}>{resources(lab.cores, lab.memory_mib)}</td>
                  <td style={{ whiteSpace: 'nowrap' }}>
                    <Ago at={lab.created_at} />
                  </td>
                  <td title={sentence(lab)}>{lab.progress ? phaseWord(lab.progress.phase) : ''}</td>
                  <td style={{ whiteSpace: 'nowrap' }}>
                    {lab.trace_id && (
                      <Link to="/operations/traces/$traceId" params={{ traceId: lab.trace_id }}>
                        Trace
                      </Link>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  )
}
