import { ActionIcon, Button, Menu } from '@mantine/core'
import { IconClockPause, IconCopy, IconDots, IconInfoCircle, IconTrash } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import type { Lab } from '#/api/model'
import { metricsQuery, timelineQuery } from '#/api/queries'
import { memoryOf, resources, trim } from '#/format/amounts'
import { samples as sampleStore, useSamples } from '#/live/samples'
import { Ago } from '#/parts/Ago'
import { useFastNow } from '#/parts/now'
import { StateBadge } from '#/parts/StateBadge'
import { useLabActions } from './actions'
import { DatalabIcon } from './DatalabIcon'
import { FilesKept, Kept } from './Keeping'
import { keepChoices } from './keep'
import { ExtendButton, LastLines, OpenButton, RestartButtons, StopButton, TimeLeft } from './LabButtons'
import css from './labs.module.css'
import { PhaseBar } from './PhaseBar'
import { consistent, segments } from './phases'
import { Sparkline } from './Sparkline'
import { advice, canOpen, coming, ended, running, STATES, sentence } from './states'
import { Waits } from './Waits'

function LaunchProgress({ lab }: { lab: Lab }) {
  const now = useFastNow()
  const { data } = useQuery(timelineQuery(lab.id))
  const timeline = consistent(data, lab)
  return <PhaseBar compact segments={timeline ? segments(timeline, now, false) : []} />
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
        {running(lab) &&
          keepChoices(Date.now()).map(({ title, until }) => (
            <Menu.Item
              key={title}
              leftSection={<IconClockPause size={16} aria-hidden />}
              onClick={() => void actions.keep(lab, until)}
            >
              Keep {title}
            </Menu.Item>
          ))}
        {running(lab) && lab.kept_until && (
          <Menu.Item
            leftSection={<IconClockPause size={16} aria-hidden />}
            onClick={() => void actions.keep(lab, null)}
          >
            Do not keep it any longer
          </Menu.Item>
        )}
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
        {lab.state === 'queued' && <Waits lab={lab} />}
        {coming(lab) && lab.state !== 'queued' && <LaunchProgress lab={lab} />}
        {running(lab) && <LabSparks lab={lab} />}
        {running(lab) && <Kept lab={lab} />}
        {lab.state === 'failed' && (
          <>
            <p className={css.sub}>
              Your files are safe. {advice(lab)} <FilesKept lab={lab} />
            </p>
            <LastLines lab={lab} short />
          </>
        )}
      </div>
      <footer className={`${css.row} ${css.foot}`}>
        {running(lab) && (
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
        {text} <Ago at={lab.ended_at ?? lab.created_at} /> <FilesKept lab={lab} />
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
