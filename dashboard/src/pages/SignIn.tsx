import { useDocumentTitle } from '@mantine/hooks'
import { useQueryClient } from '@tanstack/react-query'
import { getRouteApi, useRouter } from '@tanstack/react-router'
import { useMemo } from 'react'
import type { Me } from '#/api/model'
import { keys } from '#/api/queries'
import { session } from '#/api/session'
import { Mark } from '#/shell/Mark'
import { SignInForm } from '#/shell/SignInForm'
import css from '#/shell/shell.module.css'
import { hue, lines } from '#/theme/spectrum'
import { ownAddress } from './ownAddress'

const route = getRouteApi('/sign-in')

export function SignIn() {
  useDocumentTitle('Sign in · Open Datalabs')
  const { next } = route.useSearch()
  const router = useRouter()
  const client = useQueryClient()
  const done = (me: Me): void => {
    client.clear()
    client.setQueryData(keys.me, me)
    session.set('in')
    const channel = new BroadcastChannel('datalabs-live')
    channel.postMessage({ kind: 'session', state: 'in' })
    channel.close()
    router.history.replace(ownAddress(next))
  }
  return (
    <main className={css.door}>
      <div className={css.sky}>
        <Sky />
        <div>
          <h1>Your question, next to the data.</h1>
          <p>
            Choose a datalab, launch it in seconds, and work where the archives are. Your files stay when you
            go.
          </p>
        </div>
      </div>
      <div className={css.entry}>
        <div>
          <div style={{ display: 'flex', alignItems: 'center', gap: '0.625rem' }}>
            <Mark size={34} />
            <h2>Sign in to Open Datalabs</h2>
          </div>
          <SignInForm focus="username" done={done} />
        </div>
      </div>
    </main>
  )
}

/** A wide emission spectrum; drawn, not a picture, so it costs nothing to load. */
function Sky() {
  const drawn = useMemo(() => lines('open datalabs of the night', 46), [])
  return (
    <svg viewBox="0 0 1000 600" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <defs>
        <linearGradient id="fall" x2="0" y2="1">
          <stop offset="0" stopColor="#fff" stopOpacity="0.95" />
          <stop offset="0.45" stopColor="#fff" stopOpacity="0.5" />
          <stop offset="0.8" stopColor="#fff" stopOpacity="0.08" />
          <stop offset="1" stopColor="#fff" stopOpacity="0" />
        </linearGradient>
        <mask id="mask">
          <rect width="1000" height="600" fill="url(#fall)" />
        </mask>
      </defs>
      <g mask="url(#mask)">
        {drawn.map((line, index) => (
          <g key={index} style={{ fill: hue(line.at) }}>
            <rect
              x={line.at * 1000 - line.width * 1.6}
              width={line.width * 3.2}
              height="600"
              opacity={line.strength * 0.12}
            />
            <rect
              x={line.at * 1000 - line.width / 6}
              width={Math.max(0.8, line.width / 3)}
              height="600"
              opacity={line.strength * 0.85}
            />
          </g>
        ))}
      </g>
    </svg>
  )
}
