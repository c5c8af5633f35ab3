import { LiveProvider } from '#/shell/live'
import { useMe } from '#/shell/me'
import { Shell } from '#/shell/Shell'

/** Everything behind the door: live events and the shell around the pages. */
export function SignedIn() {
  const me = useMe()
  return (
    <LiveProvider me={me}>
      <Shell />
    </LiveProvider>
  )
}
