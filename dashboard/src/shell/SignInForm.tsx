import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { api } from '#/api/client'
import type { Me } from '#/api/model'
import { tell } from '#/api/problems'
import css from './shell.module.css'

interface Props {
  username?: string
  done: (me: Me) => void
  /** `data-autofocus` for a dialog, which moves the focus itself. */
  focus: 'username' | 'password'
}

export function SignInForm({ username: known = '', done, focus }: Props) {
  const [username, setUsername] = useState(known)
  const [password, setPassword] = useState('')
  const signIn = useMutation({
    mutationFn: () =>
      api.post('/api/v1/session', {
        body: { username: username.trim(), password },
        unauthenticated: 'throw',
      }),
    onSuccess: done,
    onError: () => setPassword(''),
  })
  const submit = (event: FormEvent): void => {
    event.preventDefault()
    if (!signIn.isPending) signIn.mutate()
  }
  const told = signIn.error ? tell(signIn.error) : null
  return (
    <form onSubmit={submit} className={css.form}>
      <TextInput
        label="User name"
        name="username"
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        required
        withAsterisk={false}
        size="md"
        value={username}
        data-autofocus={focus === 'username' || undefined}
        autoFocus={focus === 'username'}
        onChange={(event) => setUsername(event.currentTarget.value)}
      />
      <PasswordInput
        label="Password"
        name="password"
        autoComplete="current-password"
        required
        withAsterisk={false}
        size="md"
        value={password}
        data-autofocus={focus === 'password' || undefined}
        autoFocus={focus === 'password'}
        onChange={(event) => setPassword(event.currentTarget.value)}
      />
      <p role="alert" className={css.refused}>
        {told && `${told.what} ${told.now}`}
      </p>
      <Button type="submit" size="md" loading={signIn.isPending} fullWidth>
        Sign in
      </Button>
    </form>
  )
}
