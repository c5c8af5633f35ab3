/** What can be pressed for a lab, the same on every page. */
import { Button } from '@mantine/core'
import { IconExternalLink, IconHourglass, IconPlayerStop, IconRefresh } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import type { Lab, Size } from '#/api/model'
import { sizesQuery } from '#/api/queries'
import { memory } from '#/format/amounts'
import { exact, left } from '#/format/time'
import { Log } from '#/parts/Log'
import { useNow } from '#/parts/now'
import { useLabActions } from './actions'
import css from './labs.module.css'
import { expiring } from './order'
import { nextLarger } from './sizes'
import { coming } from './states'

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
