import { Button, NumberInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import type { QueuedLab } from '#/api/model'
import { queueQuery } from '#/api/queries'
import { count, memory, resources } from '#/format/amounts'
import { about, exact, millis } from '#/format/time'
import { useLabActions } from '#/labs/actions'
import { WAITS } from '#/labs/waiting'
import { Ago } from '#/parts/Ago'
import { useNow } from '#/parts/now'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { Told } from '#/parts/Told'

/** Who waits, why, how long yet, and the means to let somebody go first. */
export function Queue() {
  const { data, error, refetch } = useQuery(queueQuery)
  return (
    <Panel title={data ? count(data.total, 'lab waits', 'labs wait') : 'Queue'}>
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="12rem" />}
      {data?.items.length === 0 && (
        <p style={{ color: 'var(--ink-2)' }}>Nobody waits: whatever is launched now starts at once.</p>
      )}
      {data && data.items.length > 0 && (
        <>
          <p style={{ color: 'var(--ink-2)' }}>
            Served by priority, then by what their owners run already, then by age. Small labs may pass a big
            one until a machine is kept free for it.
          </p>
          <div className={partsCss.scroller}>
            <table className={partsCss.table}>
              <thead>
                <tr>
                  <th scope="col" data-number>
                    Place
                  </th>
                  <th scope="col">Lab</th>
                  <th scope="col">Why it waits</th>
                  <th scope="col">Needs</th>
                  <th scope="col">Since</th>
                  <th scope="col">Expected</th>
                  <th scope="col" data-number>
                    Passed by
                  </th>
                  <th scope="col">Priority</th>
                  <th scope="col">
                    <span className="sr">Actions</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {data.items.map((lab) => (
                  <Row key={lab.lab_id} lab={lab} />
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
    </Panel>
  )
}

function Row({ lab }: { lab: QueuedLab }) {
  const now = useNow()
  return (
    <tr>
      <td data-number>{lab.position}</td>
      <td style={{ minWidth: '9rem', overflowWrap: 'anywhere' }}>
        <Link to="/labs/$labId" params={{ labId: lab.lab_id }}>
          {lab.name}
        </Link>
        <div style={{ color: 'var(--ink-3)', fontSize: '0.8125rem' }}>
          {lab.datalab} {lab.version} of{' '}
          <Link to="/operations/people" search={{ person: lab.owner }}>
            {lab.owner}
          </Link>
        </div>
      </td>
      <td style={{ minWidth: '14rem' }}>
        <b>{WAITS[lab.reason]}</b>
        <div style={{ color: 'var(--ink-2)', fontSize: '0.8125rem' }}>{lab.text}</div>
        {lab.node && (
          <div style={{ color: 'var(--ink-2)', fontSize: '0.8125rem' }}>{lab.node} is kept free for it.</div>
        )}
      </td>
      <td style={{ whiteSpace: 'nowrap' }}>
        {resources(lab.cores, lab.memory_mib)}
        <div style={{ color: 'var(--ink-3)', fontSize: '0.8125rem' }}>
          {memory(lab.disk_mib)} disk
          {lab.gpus > 0 && ` · ${lab.gpus} × ${lab.gpu_name ?? 'GPU'}`}
          {lab.node_class && ` · ${lab.node_class}`}
        </div>
      </td>
      <td style={{ whiteSpace: 'nowrap' }}>
        <Ago at={lab.since} />
      </td>
      <td
        style={{ whiteSpace: 'nowrap' }}
        title={lab.expected_start_at ? exact(lab.expected_start_at) : undefined}
      >
        {lab.expected_start_at
          ? millis(lab.expected_start_at) <= now
            ? 'any moment'
            : `in ${about((millis(lab.expected_start_at) - now) / 1000)}`
          : 'not known'}
      </td>
      <td data-number>{lab.passed}</td>
      <td>
        <Priority lab={lab} />
      </td>
      <td>
        <Cancel lab={lab} />
      </td>
    </tr>
  )
}

function Priority({ lab }: { lab: QueuedLab }) {
  const actions = useLabActions()
  const [value, setValue] = useState<number>(lab.priority)
  const [busy, setBusy] = useState(false)
  const [known, setKnown] = useState(lab.priority)
  if (known !== lab.priority) {
    setKnown(lab.priority)
    setValue(lab.priority)
  }
  const set = (): void => {
    if (value === lab.priority) return
    setBusy(true)
    void actions.prioritise({ id: lab.lab_id }, value).finally(() => setBusy(false))
  }
  return (
    <form
      style={{ display: 'flex', gap: '0.375rem', alignItems: 'center' }}
      onSubmit={(event) => {
        event.preventDefault()
        set()
      }}
    >
      <NumberInput
        aria-label={`Priority of ${lab.name}, 0 to 100`}
        size="xs"
        w={76}
        min={0}
        max={100}
        clampBehavior="strict"
        allowDecimal={false}
        value={value}
        onChange={(entered) => setValue(Number(entered))}
      />
      <Button
        type="submit"
        size="compact-sm"
        variant="default"
        loading={busy}
        disabled={value === lab.priority}
      >
        Set
      </Button>
    </form>
  )
}

function Cancel({ lab }: { lab: QueuedLab }) {
  const actions = useLabActions()
  const [busy, setBusy] = useState(false)
  return (
    <Button
      size="compact-sm"
      variant="default"
      loading={busy}
      aria-label={`Cancel ${lab.name}`}
      onClick={() => {
        setBusy(true)
        void actions.cancel({ id: lab.lab_id }).finally(() => setBusy(false))
      }}
    >
      Cancel
    </Button>
  )
}
