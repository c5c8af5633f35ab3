import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useEffect } from 'react'
import { api } from '#/api/client'
import { Page } from '#/parts/Page'
import { Told } from '#/parts/Told'

/** An address that can be kept: it lets this browser into the lab and goes there. */
export function OpenLab({ labId }: { labId: string }) {
  const { data, error, refetch } = useQuery({
    queryKey: ['open', labId],
    queryFn: () => api.post('/api/v1/labs/{lab_id}/open', { path: { lab_id: labId } }),
    gcTime: 0,
    retry: false,
  })
  useEffect(() => {
    if (data) location.replace(data.url)
  }, [data])
  return (
    <Page title="Opening the lab">
      {error ? (
        <Told error={error} again={() => void refetch()}>
          <Button size="compact-sm" variant="default" component={Link} to={`/labs/${labId}`}>
            To the lab
          </Button>
        </Told>
      ) : (
        <p role="status">One moment.</p>
      )}
    </Page>
  )
}
