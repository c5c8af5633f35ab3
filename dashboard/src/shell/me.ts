import { useQuery, useQueryClient } from '@tanstack/react-query'
import type { Me } from '#/api/model'
import { keys, meQuery } from '#/api/queries'

/** Who is signed in. Pages below the signed-in layout always have it. */
export function useMe(): Me {
  const { data } = useQuery(meQuery)
  if (!data) throw new Error('useMe outside of the signed-in pages')
  return data
}

/** Whether the reader is an operator; false where nobody is signed in. */
export function useOperator(): boolean {
  return useQueryClient().getQueryData<Me>(keys.me)?.roles.includes('operator') ?? false
}
