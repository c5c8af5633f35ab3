import { ActionIcon, Button, Menu } from '@mantine/core'
import {
  IconCopy,
  IconDots,
  IconExternalLink,
  IconHourglass,
  IconInfoCircle,
  IconPlayerStop,
  IconRefresh,
  IconTrash,
} from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import type { Lab, Size } from '#/api/model'
import { metricsQuery, sizesQuery, timelineQuery } from '#/api/queries'
import { memory, memoryOf, resources, trim } from '#/format/amounts'
import { exact, left } from '#/format/time'
import { samples as sampleStore, useSamples } from '#/live/samples'
import { Ago } from '#/parts/Ago'
import { Log } from '#/parts/Log'
import { useFastNow, useNow } from '#/parts/now'
import { StateBadge } from '#/parts/StateBadge'
import { useLabActions } from './actions'
import { DatalabIcon } from './DatalabIcon'
import css from './labs.module.css'
import { expiring } from './order'
import { PhaseBar } from './PhaseBar'
import { segments } from './phases'
import { Sparkline } from './Sparkline'
import { nextLarger } from './sizes'
import { advice, canOpen, coming, ended, STATES, sentence } from './states'

/** So many of the last lines fit on a card; the rest is on the lab's page. */
const SHORT_LINES = 3

export function TimeLeft({ lab }: { lab: Lab }) {
  const now = useNow()
  if (!lab.expires_at) return <span className={css.left}>No end set</span>
  return (
    <span
      className={css.left}
      data-near={expiring(lab, now) || undefined}
      title={`Ends ${exact(lab.expires_at)}`}
    >
      <IconHourglass size={16} aria-hidden />
      {left(lab.expires_at, now)}
    </span>
  )
}

function LaunchProgress({ lab }: { lab: Lab }) {
  const now = useFastNow()
  const { data } = useQuery(timelineQuery(lab.id))
  return <PhaseBar compact segments={data ? segments(data, now, false) : []} />
}

/** CPU and memory; the samples of before come once, the rest by events. */
export function LabSparks({ lab }: { lab: Lab }) {
  const shown = useSamples(lab.id)
  useQuery({ ...metricsQuery(lab.id), enabled: sampleStore.get(lab.id).length < 2 })
  const last = shown.at(-1)
  return (
    <div className={css.two}>
      <Sparkline
        label="CPU"
        value={last ? `${trim(last.cores, 2)} of ${trim(last.max_cores, 2)}` : '–'}
        samples={shown}
        of={(sample) => sample.cores}
        max={last?.max_cores ?? lab.cores}
      />
      <Sparkline
        label="Memory"
        value={last ? memoryOf(last.memory_mib, last.max_memory_mib) : '–'}
        samples={shown}
        of={(sample) => sample.memory_mib}
        max={last?.max_memory_mib ?? lab.memory_mib}
      />
    </div>
  )
}

export function ExtendButton({ lab, size = 'compact-md' }: { lab: Lab; size?: string }) {
  const actions = useLabActions()
  const now = useNow()
  const [busy, setBusy] = useState(false)
  return (
    <Button
      size={size}
      variant={expiring(lab, now) ? 'filled' : 'default'}
      loading={busy}
      onClick={() => {
        setBusy(true)
        void actions.extend(lab).finally(() => setBusy(false))
      }}
    >
      Extend
    </Button>
  )
}

export function OpenButton({ lab, size }: { lab: Lab; size?: string }) {
  const actions = useLabActions()
  const [busy, setBusy] = useState(false)
  return (
    <Button
      {...(size ? { size } : {})}
      leftSection={<IconExternalLink size={17} aria-hidden />}
      loading={busy}
      onClick={() => {
        setBusy(true)
        void actions.open(lab).finally(() => setBusy(false))
      }}
    >
      Open
    </Button>
  )
}

interface RestartProps {
  lab: Lab
  size?: string | undefined
  variant?: string
  /** Another size of machine than before. */
  into?: Size
}

export function RestartButton({ lab, size, variant = 'default', into }: RestartProps) {
  const actions = useLabActions()
  const navigate = useNavigate()
  const [busy, setBusy] = useState(false)
  return (
    <Button
      {...(size ? { size } : {})}
      variant={variant}
      leftSection={<IconRefresh size={17} aria-hidden />}
      loading={busy}
      onClick={() => {
        setBusy(true)
        void actions
          .restart(lab, into?.name)
          .then((again) => again && navigate({ to: '/labs/$labId/launching', params: { labId: lab.id } }))
          .finally(() => setBusy(false))
      }}
    >
      {into ? `Restart with ${memory(into.memory_mib)}` : 'Restart'}
    </Button>
  )
}

/** The way back after an end: as it was, and in the next larger size where its size was too small for it. */
export function RestartButtons({ lab, size, strong = false }: { lab: Lab; size?: string; strong?: boolean }) {
  const small = lab.reason === 'out_of_memory' || lab.reason === 'start_timeout'
  const { data: sizes } = useQuery({ ...sizesQuery, enabled: small })
  const larger = small ? nextLarger(lab, sizes ?? []) : undefined
  return (
    <>
      <RestartButton lab={lab} size={size} variant={strong && !larger ? 'filled' : 'default'} />
      {larger && (
        <RestartButton lab={lab} size={size} into={larger} variant={strong ? 'filled' : 'default'} />
      )}
    </>
  )
}

export function StopButton({ lab, size }: { lab: Lab; size?: string }) {
  const actions = useLabActions()
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    if (lab.state === 'stopping') setBusy(false)
  }, [lab.state])
  return (
    <Button
      {...(size ? { size } : {})}
      variant="default"
      leftSection={<IconPlayerStop size={17} aria-hidden />}
      loading={busy}
      disabled={lab.state === 'stopping'}
      onClick={() => {
        setBusy(true)
        void actions.stop(lab).finally(() => setBusy(false))
      }}
    >
      {coming(lab) ? 'Cancel' : 'Stop'}
    </Button>
  )
}

function More({ lab }: { lab: Lab }) {
  const actions = useLabActions()
  return (
    <Menu>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label={`More for ${lab.name}`}>
          <IconDots size={18} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Item
          component={Link}
          to={`/labs/${lab.id}`}
          leftSection={<IconInfoCircle size={16} aria-hidden />}
        >
          Details
        </Menu.Item>
        <Menu.Item
          leftSection={<IconCopy size={16} aria-hidden />}
          onClick={() => void navigator.clipboard.writeText(lab.id)}
        >
          Copy the id
        </Menu.Item>
        <Menu.Item
          color="red"
          leftSection={<IconTrash size={16} aria-hidden />}
          onClick={() => actions.remove(lab)}
        >
          {ended(lab) ? 'Delete' : 'Stop and delete'}
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  )
}

/** A lab that runs, comes or has just failed. */
export function LabCard({ lab, icon }: { lab: Lab; icon?: string | undefined }) {
  const text = sentence(lab)
  return (
    <article
      className={css.card}
      data-tone={STATES[lab.state].tone}
      aria-label={`${lab.name}: ${STATES[lab.state].word}`}
    >
      <header>
        <DatalabIcon url={icon} kind={lab.kind} size={40} />
        <div>
          <h3>
            <Link to="/labs/$labId" params={{ labId: lab.id }} title={lab.name}>
              {lab.name}
            </Link>
          </h3>
          <p className={css.sub}>
            {lab.datalab_title || lab.datalab} {lab.version} · {resources(lab.cores, lab.memory_mib)}
          </p>
        </div>
        <More lab={lab} />
      </header>
      <div className={css.body}>
        <div className={css.row}>
          <StateBadge state={lab.state} />
          <span className={css.sub}>
            {lab.state === 'failed' && lab.ended_at ? (
              <Ago at={lab.ended_at} />
            ) : (
              <>
                launched <Ago at={lab.created_at} />
              </>
            )}
          </span>
        </div>
        {text && <p style={{ fontSize: '0.875rem' }}>{text}</p>}
        {coming(lab) && lab.state !== 'queued' && <LaunchProgress lab={lab} />}
        {(lab.state === 'ready' || lab.state === 'unreachable') && <LabSparks lab={lab} />}
        {lab.state === 'failed' && (
          <>
            <p className={css.sub}>Your files are safe. {advice(lab)}</p>
            <LastLines lab={lab} short />
          </>
        )}
      </div>
      <footer className={`${css.row} ${css.foot}`}>
        {(lab.state === 'ready' || lab.state === 'unreachable') && (
          <>
            <TimeLeft lab={lab} />
            {lab.expires_at && <ExtendButton lab={lab} />}
          </>
        )}
        {coming(lab) && (
          <Button component={Link} to={`/labs/${lab.id}/launching`} size="compact-md" variant="default">
            Watch
          </Button>
        )}
        {!ended(lab) && <StopButton lab={lab} size="compact-md" />}
        {ended(lab) && <RestartButtons lab={lab} size="compact-md" />}
        {canOpen(lab) && <OpenButton lab={lab} size="compact-md" />}
      </footer>
    </article>
  )
}

export function LastLines({ lab, short = false }: { lab: Lab; short?: boolean }) {
  const lines = (lab.last_lines ?? []).slice(short ? -SHORT_LINES : undefined)
  if (lines.length === 0) return null
  return (
    <Log
      label={`Last log lines of ${lab.name} (${lab.id})`}
      text={lines.join('\n')}
      style={{ maxHeight: short ? '6rem' : '14rem' }}
    />
  )
}

/** An ended lab: one line, its reason, and the way back. */
export function PastLab({ lab }: { lab: Lab }) {
  const actions = useLabActions()
  const text = sentence(lab)
  return (
    <div className={css.pastRow}>
      <Link to="/labs/$labId" params={{ labId: lab.id }} title={lab.name}>
        {lab.name} <span className={css.sub}>{lab.datalab_title || lab.datalab}</span>
      </Link>
      <StateBadge state={lab.state} />
      <span className={css.sub}>
        {text} <Ago at={lab.ended_at ?? lab.created_at} />
      </span>
      <span className={css.row}>
        <RestartButtons lab={lab} size="compact-sm" />
        <ActionIcon
          variant="subtle"
          color="gray"
          aria-label={`Delete ${lab.name}`}
          onClick={() => actions.remove(lab)}
        >
          <IconTrash size={17} />
        </ActionIcon>
      </span>
      {lab.state === 'failed' && (lab.last_lines ?? []).length > 0 && (
        <details>
          <summary>Its last lines. {advice(lab)}</summary>
          <LastLines lab={lab} />
        </details>
      )}
    </div>
  )
}
