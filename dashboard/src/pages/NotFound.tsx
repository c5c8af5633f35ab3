import { Button } from '@mantine/core'
import { Link, useRouter } from '@tanstack/react-router'
import { Empty, Page } from '#/parts/Page'
import { Told } from '#/parts/Told'

export function NotFound() {
  return (
    <Page title="Nothing is here" bare>
      <Empty
        title="Nothing is here"
        first
        action={
          <Button component={Link} to="/catalogue">
            To the catalogue
          </Button>
        }
      >
        The address leads nowhere on this platform, or to something that is not yours to see.
      </Empty>
    </Page>
  )
}

export function PageFailed({ error }: { error: unknown }) {
  const router = useRouter()
  return (
    <Page title="This page cannot be shown">
      <Told error={error} again={() => void router.invalidate()} />
    </Page>
  )
}
