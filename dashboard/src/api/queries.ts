/** Everything the pages read, as query options: one place for keys, so that events find what they change. */
import { infiniteQueryOptions, keepPreviousData, QueryClient, queryOptions } from '@tanstack/react-query'
import { labJournal } from '#/live/journal'
import { mergeLab, newer } from '#/live/merge'
import { samples } from '#/live/samples'
import { api } from './client'
import type {
  ImportProblem,
  Kind,
  Lab,
  LaunchBody,
  Me,
  Page,
  Person,
  QueuedLab,
  Span,
  UsageRow,
} from './model'
import { ProblemError, passing } from './problems'

export interface CatalogueSearch {
  q?: string
  kind?: Kind[]
  domain?: string[]
  mission?: string[]
  keyword?: string[]
}

export interface EventFilter {
  entity?: string
  entity_id?: string
  fact?: string
  owner?: string
  trace_id?: string
}

export interface TraceFilter {
  lab_id?: string
  service?: string
  /** The name of a span of theirs; none asked for means launches, `*` all. */
  name?: string
  errors_only?: boolean
  min_seconds?: number
}

export type UsageGrouping = 'lab' | 'day' | 'size' | 'datalab'

export const keys = {
  me: ['me'] as const,
  site: ['site'] as const,
  labs: ['labs'] as const,
  allLabs: ['all-labs'] as const,
  lab: (id: string) => ['lab', id] as const,
  timeline: (id: string) => ['timeline', id] as const,
  logs: (id: string) => ['logs', id] as const,
  metrics: (id: string) => ['metrics', id] as const,
  datalabs: ['datalabs'] as const,
  datalab: (slug: string) => ['datalab', slug] as const,
  preflight: ['preflight'] as const,
  volumes: ['volumes'] as const,
  collections: ['collections'] as const,
  collection: (id: string) => ['collection', id] as const,
  usage: ['usage'] as const,
  capacity: ['capacity'] as const,
  platform: ['platform'] as const,
  history: ['history'] as const,
  traces: ['traces'] as const,
  trace: (id: string) => ['trace', id] as const,
  deadLetters: ['dead-letters'] as const,
  nodes: ['nodes'] as const,
  queue: ['queue'] as const,
  people: ['people'] as const,
  person: (username: string) => ['person', username] as const,
  importProblems: ['import-problems'] as const,
}

/** Events keep what is on screen current, so nothing is fetched again for its age or for a look at the tab. */
export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        networkMode: 'always',
        staleTime: 60_000,
        gcTime: 10 * 60_000,
        refetchOnWindowFocus: false,
        refetchOnReconnect: false,
        retry: (count, error) => passing(error) && count < 5,
        retryDelay: (count, error) =>
          error instanceof ProblemError && error.retryAfter
            ? error.retryAfter * 1000
            : Math.min(4_000, 300 * 2 ** count),
      },
      mutations: { networkMode: 'always' },
    },
  })
}

/** Read a list to its end, within a bound that no person's list reaches. */
async function whole<T>(read: (cursor: string | undefined) => Promise<Page<T>>, pages = 10): Promise<T[]> {
  const items: T[] = []
  let cursor: string | undefined
  for (let page = 0; page < pages; page += 1) {
    const answer = await read(cursor)
    items.push(...answer.items)
    if (!answer.next) break
    cursor = answer.next
  }
  return items
}

export const meQuery = queryOptions({
  queryKey: keys.me,
  queryFn: ({ signal }) => api.get('/api/v1/me', { signal }),
  staleTime: Number.POSITIVE_INFINITY,
})

export const siteQuery = queryOptions({
  queryKey: keys.site,
  queryFn: ({ signal }) => api.get('/api/v1/config', { signal }),
})

/** A list that was asked for before an event came may lack it; what came meanwhile is put in by revision. */
async function current(read: Promise<Lab[]>, wanted: (lab: Lab) => boolean): Promise<readonly Lab[]> {
  const mark = labJournal.mark()
  const labs = await read
  return labJournal.since(mark).filter(wanted).reduce<readonly Lab[]>(mergeLab, labs)
}

/** The labs of whoever is signed in. */
export const labsQuery = queryOptions({
  queryKey: keys.labs,
  queryFn: ({ signal, client }) => {
    const username = client.getQueryData<Me>(keys.me)?.username
    return current(
      whole((cursor) => api.get('/api/v1/labs', { query: { limit: 200, cursor }, signal })),
      (lab) => lab.owner === username,
    )
  },
  staleTime: Number.POSITIVE_INFINITY,
})

export const allLabsQuery = queryOptions({
  queryKey: keys.allLabs,
  queryFn: ({ signal }) =>
    current(
      whole((cursor) =>
        api.get('/api/v1/labs', { query: { all: true, include_ended: false, limit: 200, cursor }, signal }),
      ),
      () => true,
    ),
  staleTime: Number.POSITIVE_INFINITY,
})

export const labQuery = (id: string) =>
  queryOptions({
    queryKey: keys.lab(id),
    queryFn: async ({ signal }) => {
      const mark = labJournal.mark()
      const read = await api.get('/api/v1/labs/{lab_id}', { path: { lab_id: id }, signal })
      return labJournal
        .since(mark)
        .filter((lab) => lab.id === id)
        .reduce(newer, read)
    },
    staleTime: Number.POSITIVE_INFINITY,
  })

export const timelineQuery = (id: string, attempt?: number) =>
  queryOptions({
    queryKey: [...keys.timeline(id), attempt ?? null],
    queryFn: ({ signal }) =>
      api.get('/api/v1/labs/{lab_id}/timeline', { path: { lab_id: id }, query: { attempt }, signal }),
    placeholderData: keepPreviousData,
  })

export const logsQuery = (id: string, attempt?: number, lines = 400) =>
  queryOptions({
    queryKey: [...keys.logs(id), attempt ?? null, lines],
    queryFn: ({ signal }) =>
      api.get('/api/v1/labs/{lab_id}/logs', { path: { lab_id: id }, query: { attempt, lines }, signal }),
    placeholderData: keepPreviousData,
  })

/** What was measured before this page was opened; what comes later is in the sample store already. */
export const metricsQuery = (id: string) =>
  queryOptions({
    queryKey: keys.metrics(id),
    queryFn: async ({ signal }) => {
      const metrics = await api.get('/api/v1/labs/{lab_id}/metrics', { path: { lab_id: id }, signal })
      samples.add(...metrics.samples)
      return metrics.samples.length
    },
  })

export const datalabsQuery = (search: CatalogueSearch) =>
  queryOptions({
    queryKey: [...keys.datalabs, search],
    queryFn: ({ signal }) => api.get('/api/v1/datalabs', { query: { ...search, limit: 200 }, signal }),
    placeholderData: keepPreviousData,
  })

export const datalabQuery = (slug: string) =>
  queryOptions({
    queryKey: keys.datalab(slug),
    queryFn: ({ signal }) => api.get('/api/v1/datalabs/{slug}', { path: { slug }, signal }),
  })

export const preflightQuery = (body: LaunchBody) =>
  queryOptions({
    queryKey: [...keys.preflight, body],
    queryFn: ({ signal }) => api.post('/api/v1/labs:preflight', { body, signal }),
    placeholderData: keepPreviousData,
    staleTime: 10_000,
    retry: (count, error) => passing(error) && count < 3,
  })

export const sizesQuery = queryOptions({
  queryKey: ['sizes'],
  queryFn: async ({ signal }) => (await api.get('/api/v1/sizes', { query: { limit: 200 }, signal })).items,
})

export const volumesQuery = queryOptions({
  queryKey: keys.volumes,
  queryFn: async ({ signal }) =>
    (await api.get('/api/v1/volumes', { query: { measure: true }, signal })).items,
})

export const collectionsQuery = queryOptions({
  queryKey: keys.collections,
  queryFn: ({ signal }) =>
    whole((cursor) => api.get('/api/v1/collections', { query: { limit: 200, cursor }, signal })),
})

export const collectionQuery = (id: string) =>
  queryOptions({
    queryKey: keys.collection(id),
    queryFn: ({ signal }) =>
      api.get('/api/v1/collections/{collection_id}', { path: { collection_id: id }, signal }),
  })

export const usageQuery = (from: string, to: string, by: UsageGrouping) =>
  queryOptions({
    queryKey: [...keys.usage, from, to, by],
    queryFn: async ({ signal }) => {
      let total: UsageRow | null = null
      const items = await whole<UsageRow>(async (cursor) => {
        const page = await api.get('/api/v1/usage', { query: { from, to, by, limit: 500, cursor }, signal })
        total = page.total
        return page
      })
      return { items, total: total as UsageRow | null }
    },
    placeholderData: keepPreviousData,
  })

export const limitsQuery = queryOptions({
  queryKey: ['limits'],
  queryFn: ({ signal }) => api.get('/api/v1/limits', { signal }),
})

export const capacityQuery = queryOptions({
  queryKey: keys.capacity,
  queryFn: ({ signal }) => api.get('/api/v1/capacity', { signal }),
})

export const platformQuery = queryOptions({
  queryKey: keys.platform,
  queryFn: async ({ signal }) => (await api.get('/api/v1/platform', { signal })).items,
})

export const historyQuery = (filter: EventFilter) =>
  infiniteQueryOptions({
    queryKey: [...keys.history, filter],
    queryFn: ({ pageParam, signal }) =>
      api.get('/api/v1/events/history', { query: { ...filter, limit: 100, cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  })

/** Without a name, the launches: lab traffic and requests would bury them. */
function asked(filter: TraceFilter): TraceFilter {
  return { ...filter, name: filter.name === ALL_TRACES ? undefined : (filter.name ?? LAUNCH_SPAN) }
}

export const ALL_TRACES = '*'
export const LAUNCH_SPAN = 'launch'

export const tracesQuery = (filter: TraceFilter) =>
  infiniteQueryOptions({
    queryKey: [...keys.traces, filter],
    queryFn: ({ pageParam, signal }) =>
      api.get('/api/v1/traces', { query: { ...asked(filter), limit: 100, cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next ?? undefined,
    placeholderData: keepPreviousData,
  })

export const traceQuery = (id: string) =>
  queryOptions({
    queryKey: keys.trace(id),
    queryFn: ({ signal }): Promise<Span[]> =>
      whole((cursor) =>
        api.get('/api/v1/traces/{trace_id}', {
          path: { trace_id: id },
          query: { limit: 200, cursor },
          signal,
        }),
      ),
  })

export const deadLettersQuery = infiniteQueryOptions({
  queryKey: keys.deadLetters,
  queryFn: ({ pageParam, signal }) =>
    api.get('/api/v1/dead-letters', { query: { limit: 100, cursor: pageParam }, signal }),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next ?? undefined,
})

export const nodesQuery = queryOptions({
  queryKey: keys.nodes,
  queryFn: ({ signal }) => api.get('/api/v1/nodes', { signal }),
})

export const queueQuery = queryOptions({
  queryKey: keys.queue,
  queryFn: async ({ signal }) => {
    let total = 0
    const items = await whole<QueuedLab>(async (cursor) => {
      const page = await api.get('/api/v1/queue', { query: { limit: 200, cursor }, signal })
      total = page.total
      return page
    })
    return { items, total }
  },
})

export const peopleQuery = queryOptions({
  queryKey: keys.people,
  queryFn: ({ signal }) =>
    whole<Person>((cursor) => api.get('/api/v1/people', { query: { limit: 200, cursor }, signal })),
})

/** What one person may have, and the rules of their labs. */
export const personQuery = (username: string) =>
  queryOptions({
    queryKey: keys.person(username),
    queryFn: async ({ signal }) => {
      const path = { username }
      const [limits, policy] = await Promise.all([
        api.get('/api/v1/people/{username}/limits', { path, signal }),
        api.get('/api/v1/people/{username}/lab-policy', { path, signal }),
      ])
      return { limits, policy }
    },
  })

export const importProblemsQuery = queryOptions({
  queryKey: keys.importProblems,
  queryFn: ({ signal }) =>
    whole<ImportProblem>((cursor) =>
      api.get('/api/v1/catalogue/problems', { query: { limit: 200, cursor }, signal }),
    ),
})
