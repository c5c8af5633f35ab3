import { useQueryClient } from '@tanstack/react-query'
import { useSyncExternalStore } from 'react'
import type { Me } from '#/api/model'
import { keys } from '#/api/queries'
import { session } from '#/api/session'
import { Dialog } from '#/parts/Dialogs'
import { useTellSession } from './live'
import { useMe } from './me'
import { SignInForm } from './SignInForm'

/** The session ended in the middle of work: sign in here, and the page goes on where it was. */
export function SignInAgain() {
  const state = useSyncExternalStore(session.subscribe, session.get)
  const me = useMe()
  const client = useQueryClient()
  const tellSession = useTellSession()
  const done = (again: Me): void => {
    tellSession('in')
    if (again.username !== me.username) {
      location.reload()
      return
    }
    client.setQueryData(keys.me, {
      ...again,
      roles: me.roles.join() === again.roles.join() ? me.roles : again.roles,
    })
    session.set('in')
  }
  return (
    <Dialog opened={state === 'expired'} title="Your session has ended">
      <p style={{ marginBottom: '1rem', color: 'var(--ink-2)' }}>
        Your labs go on running. Sign in again and this page continues where it was; what you typed is still
        here.
      </p>
      <SignInForm username={me.username} focus="password" done={done} />
    </Dialog>
  )
}
