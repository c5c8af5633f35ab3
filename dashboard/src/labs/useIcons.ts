import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'
import { datalabsQuery } from '#/api/queries'

/** Icons by datalab, from the catalogue's front page: a lab knows only the name of its datalab. */
export function useIcons(): ReadonlyMap<string, string> {
  const { data } = useQuery(datalabsQuery({}))
  return useMemo(() => new Map(data?.items.map((item) => [item.slug, item.icon_url])), [data])
}
