import { Button, Switch } from '@mantine/core'
import { useDocumentTitle } from '@mantine/hooks'
import { IconArrowRight } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useEffect, useRef, useState } from 'react'
import { api } from '#/api/client'
import type { Lab, Timeline } from '#/api/model'
import { labQuery, timelineQuery } from '#/api/queries'
import { ordinal, resources } from '#/format/amounts'
import { about, duration, millis } from '#/format/time'
import { DatalabIcon } from '#/labs/DatalabIcon'
import { LastLines, RestartButtons, StopButton } from '#/labs/LabButtons'
import { PhaseBar } from '#/labs/PhaseBar'
import { consistent, remaining, segments } from '#/labs/phases'
import { advice, canOpen, coming, ended, STATES, sentence } from '#/labs/states'
import { useIcons } from '#/labs/useIcons'
import { Waits } from '#/labs/Waits'
import { useFastNow } from '#/parts/now'
import { Page, Shape, Waiting } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { StateBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import css from './launching.module.css'

const GO_KEY = 'datalabs-go-by-itself'

/** What is it doing, how long yet? It goes to the lab by itself, in this tab, so nothing is blocked. */
export function Launching({ labId }: { labId: string }) {
  const { data: lab, error, refetch } = useQuery(labQuery(labId))
  if (error) {
    return (
      <Page title="Launching">
        <Told error={error} again={() => void refetch()}>
          <Link to="/labs">To my labs</Link>
        </Told>
      </Page>
    )
  }
  if (!lab) {
    return (
      <Page title="Launching" bare>
        <Waiting what="the launch">
          <Shape height="16rem" />
        </Waiting>
      </Page>
    )
  }
  return <Stage lab={lab} />
}

function Stage({ lab }: { lab: Lab }) {
  const icons = useIcons()
  const { data: timeline } = useQuery(timelineQuery(lab.id))
  const [goes, setGoes] = useState(() => localStorage.getItem(GO_KEY) !== 'no')
  const [refused, setRefused] = useState<unknown>(null)
  useArrival(lab, goes, setRefused)
  useDocumentTitle(titleOf(lab))
  const choose = (on: boolean): void => {
    localStorage.setItem(GO_KEY, on ? 'yes' : 'no')
    setGoes(on)
  }
  return (
    <Page title={titleOf(lab)} bare>
      <div className={css.stage}>
        <div className={css.who}>
          <DatalabIcon url={icons.get(lab.datalab)} kind={lab.kind} size={60} />
          <div style={{ minWidth: 0 }}>
            <h1>{lab.name}</h1>
            <p>
              {lab.datalab_title || lab.datalab} {lab.version} · {resources(lab.cores, lab.memory_mib)}
            </p>
          </div>
        </div>
        <div className={css.now} aria-live="off">
          <Doing lab={lab} timeline={timeline} />
          {lab.state === 'failed' && (
            <div className={partsCss.stack}>
              <p>Your files are safe. {advice(lab)}</p>
              <LastLines lab={lab} />
            </div>
          )}
          {refused != null && <Told error={refused} />}
          <div className={css.foot}>
            {coming(lab) && lab.kind !== 'batch' ? (
              <div className={css.switches}>
                <Switch
                  label="Go there by itself when it is ready"
                  checked={goes}
                  onChange={(event) => choose(event.currentTarget.checked)}
                />
                <TellSwitch />
              </div>
            ) : (
              <Link to="/labs/$labId" params={{ labId: lab.id }}>
                To the lab’s page
              </Link>
            )}
            <div style={{ display: 'flex', gap: '0.625rem' }}>
              {!ended(lab) && lab.state !== 'ready' && <StopButton lab={lab} />}
              {ended(lab) && <RestartButtons lab={lab} strong />}
              {canOpen(lab) && (
                <Button
                  component={Link}
                  to={`/labs/${lab.id}/open`}
                  replace
                  rightSection={<IconArrowRight size={18} aria-hidden />}
                >
                  Go to the lab
                </Button>
              )}
            </div>
          </div>
        </div>
        {coming(lab) && (
          <p style={{ color: 'var(--ink-3)', fontSize: '0.875rem' }}>
            You can leave this page: the lab goes on starting and waits for you in{' '}
            <Link to="/labs">My Datalabs</Link>.
          </p>
        )}
      </div>
    </Page>
  )
}

/** The bar, the sentence of the moment and the clock: renewed ten times a second, so a small part of the page. */
function Doing({ lab, timeline }: { lab: Lab; timeline: Timeline | undefined }) {
  const now = useFastNow()
  const going = coming(lab)
  const shown = consistent(timeline, lab)
  const parts = shown ? segments(shown, now, !going) : []
  const left = going && lab.state !== 'queued' ? remaining(parts) : null
  const began = millis(shown?.phases[0]?.started_at ?? lab.created_at)
  const over = going ? now : millis(lab.ready_at ?? lab.ended_at ?? lab.created_at)
  const seconds = going
    ? Math.max(0, now - began) / 1000
    : (shown?.seconds ?? Math.max(0, over - began) / 1000)
  const text = sentence(lab)
  return (
    <>
      <div className={css.line}>
        <StateBadge state={lab.state} />
        <span className={css.clock}>
          <b>{duration(seconds)}</b>
          {left !== null && left > 0.5 && ` · ${about(left)} to go`}
        </span>
      </div>
      <p className={css.sentence} role="status">
        {lab.state === 'ready'
          ? lab.kind === 'batch'
            ? 'It is working.'
            : 'It is ready.'
          : text || STATES[lab.state].word}
      </p>
      {lab.state === 'queued' && <Waits lab={lab} />}
      <PhaseBar segments={parts} failed={lab.state === 'failed'} />
    </>
  )
}

function titleOf(lab: Lab): string {
  if (lab.state === 'ready') return `✓ Ready: ${lab.name}`
  if (lab.state === 'failed') return `✗ Failed: ${lab.name}`
  if (lab.state === 'queued' && lab.queue_position)
    return `${ordinal(lab.queue_position)} in the queue: ${lab.name}`
  return `${STATES[lab.state].word}: ${lab.name}`
}

/**
 * Go to the lab once it is ready. While the tab is behind, title and notification tell it, and the move waits until
 * somebody looks: else the title would be the lab's and nobody had been told.
 */
function useArrival(lab: Lab, goes: boolean, refuse: (error: unknown) => void): void {
  const navigate = useNavigate()
  const was = useRef(lab.state)
  const sawLaunch = useRef(coming(lab))
  useEffect(() => {
    if (was.current !== lab.state && document.hidden && (lab.state === 'ready' || lab.state === 'failed')) {
      tellSystem(lab)
    }
    was.current = lab.state
  }, [lab])
  useEffect(() => {
    if (lab.state !== 'ready' || !sawLaunch.current) return
    if (lab.kind === 'batch') {
      void navigate({ to: '/labs/$labId', params: { labId: lab.id }, replace: true })
      return
    }
    if (!goes) return
    let cancelled = false
    const go = (): void => {
      if (document.hidden) return
      document.removeEventListener('visibilitychange', go)
      api
        .post('/api/v1/labs/{lab_id}/open', { path: { lab_id: lab.id } })
        .then(({ url }) => {
          if (!cancelled) location.replace(url)
        })
        .catch(refuse)
    }
    document.addEventListener('visibilitychange', go)
    go()
    return () => {
      cancelled = true
      document.removeEventListener('visibilitychange', go)
    }
  }, [goes, lab.id, lab.kind, lab.state, navigate, refuse])
}

function tellSystem(lab: Lab): void {
  if (!('Notification' in window) || Notification.permission !== 'granted') return
  const notification = new Notification(
    lab.state === 'ready' ? `${lab.name} is ready` : `${lab.name} failed`,
    {
      body: lab.state === 'ready' ? 'Open it from its tab.' : sentence(lab),
      icon: '/icon.svg',
      tag: lab.id,
    },
  )
  notification.onclick = () => {
    window.focus()
    notification.close()
  }
}

/** A browser asks for its permission only after a click. */
function TellSwitch() {
  const possible = 'Notification' in window
  const [permission, setPermission] = useState(possible ? Notification.permission : 'denied')
  if (!possible || permission === 'denied') return null
  return (
    <Switch
      label="Tell me when this tab is behind"
      checked={permission === 'granted'}
      disabled={permission === 'granted'}
      onChange={() => void Notification.requestPermission().then(setPermission)}
    />
  )
}
