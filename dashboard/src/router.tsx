import type { QueryClient } from '@tanstack/react-query'
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from '@tanstack/react-router'
import { api } from './api/client'
import type { Kind, Me } from './api/model'
import { ProblemError, passing } from './api/problems'
import type { CatalogueSearch, EventFilter, TraceFilter, UsageGrouping } from './api/queries'
import {
  collectionsQuery,
  datalabQuery,
  datalabsQuery,
  keys,
  labsQuery,
  usageQuery,
  volumesQuery,
} from './api/queries'
import { session } from './api/session'
import { Catalogue } from './pages/Catalogue'
import { DatalabPage } from './pages/DatalabPage'
import { Labs } from './pages/Labs'
import { Launching } from './pages/Launching'
import { NotFound, PageFailed } from './pages/NotFound'
import { OpenLab } from './pages/OpenLab'
import { SignedIn } from './pages/SignedIn'
import { SignIn } from './pages/SignIn'
import { defaultRange } from './pages/usageRange'
import { retrying } from './parts/retrying'

interface Context {
  client: QueryClient
}

const root = createRootRouteWithContext<Context>()({ component: Outlet, notFoundComponent: NotFound })

const text = (value: unknown): string | undefined => {
  if (typeof value === 'string' && value !== '') return value
  return typeof value === 'number' ? String(value) : undefined
}
const texts = (value: unknown): string[] | undefined => {
  const list = (Array.isArray(value) ? value : [value]).flatMap((item) => text(item) ?? [])
  return list.length > 0 ? list : undefined
}
const KINDS: readonly string[] = ['notebook', 'web', 'desktop', 'batch'] satisfies Kind[]

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  component: SignIn,
  validateSearch: (search): { next?: string } => ({ next: text(search.next) }),
})

const signedIn = createRoute({
  getParentRoute: () => root,
  id: 'signed-in',
  component: SignedIn,
  errorComponent: PageFailed,
  beforeLoad: async ({ context, location }) => {
    if (context.client.getQueryData(keys.me)) return
    const me = await whoAmI().catch((error: unknown) => {
      if (error instanceof ProblemError && error.status === 401) {
        throw redirect({ to: '/sign-in', search: location.href === '/' ? {} : { next: location.href } })
      }
      throw error
    })
    context.client.setQueryData(keys.me, me)
    session.set('in')
  },
})

/** Ask until the platform answers: at a restart the page waits rather than fails. */
async function whoAmI(): Promise<Me> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await api.get('/api/v1/me', { unauthenticated: 'throw' })
    } catch (error) {
      if (!passing(error) || attempt > 5) throw error
      await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** attempt))
    }
  }
}

const front = createRoute({
  getParentRoute: () => signedIn,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/catalogue' })
  },
})

const catalogue = createRoute({
  getParentRoute: () => signedIn,
  path: '/catalogue',
  component: Catalogue,
  validateSearch: (search): CatalogueSearch => ({
    q: text(search.q),
    kind: texts(search.kind)?.filter((kind): kind is Kind => KINDS.includes(kind)),
    domain: texts(search.domain),
    mission: texts(search.mission),
    keyword: texts(search.keyword),
  }),
  loaderDeps: ({ search }) => search,
  loader: ({ context, deps }) => {
    void context.client.prefetchQuery(datalabsQuery(deps))
    void context.client.prefetchQuery(labsQuery)
  },
})

export interface LaunchSearch {
  size?: string
  version?: string
  name?: string
  /** Parameters of the datalab, as JSON. */
  parameters?: Record<string, unknown>
}

const launchSearch = (search: Record<string, unknown>): LaunchSearch => ({
  size: text(search.size),
  version: text(search.version),
  name: text(search.name),
  parameters:
    typeof search.parameters === 'object' && search.parameters !== null
      ? (search.parameters as Record<string, unknown>)
      : undefined,
})

const datalab = createRoute({
  getParentRoute: () => signedIn,
  path: '/datalabs/$slug',
  component: () => <DatalabPage slug={datalab.useParams().slug} search={datalab.useSearch()} />,
  validateSearch: launchSearch,
  loader: ({ context, params }) => {
    void context.client.prefetchQuery(datalabQuery(params.slug))
  },
})

const launch = createRoute({
  getParentRoute: () => signedIn,
  path: '/launch/$slug',
  component: () => <DatalabPage slug={launch.useParams().slug} search={launch.useSearch()} invited />,
  validateSearch: launchSearch,
})

const labs = createRoute({
  getParentRoute: () => signedIn,
  path: '/labs',
  component: Labs,
  loader: ({ context }) => {
    void context.client.prefetchQuery(labsQuery)
  },
})

const lab = createRoute({
  getParentRoute: () => signedIn,
  path: '/labs/$labId',
  component: lazyRouteComponent(
    retrying(() => import('./pages/LabPage')),
    'LabPage',
  ),
  validateSearch: (search): { attempt?: number } => {
    const attempt = Number(search.attempt)
    return { attempt: Number.isInteger(attempt) && attempt > 0 ? attempt : undefined }
  },
})

const launching = createRoute({
  getParentRoute: () => signedIn,
  path: '/labs/$labId/launching',
  component: () => <Launching labId={launching.useParams().labId} />,
})

const openLab = createRoute({
  getParentRoute: () => signedIn,
  path: '/labs/$labId/open',
  component: () => <OpenLab labId={openLab.useParams().labId} />,
})

const data = createRoute({
  getParentRoute: () => signedIn,
  path: '/data',
  component: lazyRouteComponent(
    retrying(() => import('./pages/Data')),
    'Data',
  ),
  validateSearch: (search): { q?: string } => ({ q: text(search.q) }),
  loader: ({ context }) => {
    void context.client.prefetchQuery(collectionsQuery)
    void context.client.prefetchQuery(volumesQuery)
  },
})

const collection = createRoute({
  getParentRoute: () => signedIn,
  path: '/data/$collectionId',
  component: lazyRouteComponent(
    retrying(() => import('./pages/CollectionPage')),
    'CollectionPage',
  ),
})

export interface UsageSearch {
  days?: number
  by?: UsageGrouping
}

const usage = createRoute({
  getParentRoute: () => signedIn,
  path: '/usage',
  component: lazyRouteComponent(
    retrying(() => import('./pages/Usage')),
    'Usage',
  ),
  validateSearch: (search): UsageSearch => {
    const by = text(search.by)
    const days = Number(search.days)
    return {
      days: [7, 30, 90, 365].includes(days) ? days : undefined,
      by: by === 'day' || by === 'size' || by === 'datalab' || by === 'lab' ? by : undefined,
    }
  },
  loaderDeps: ({ search }) => search,
  loader: ({ context, deps }) => {
    const { from, to } = defaultRange(deps.days)
    void context.client.prefetchQuery(usageQuery(from, to, 'lab'))
  },
})

const nowhere = createRoute({ getParentRoute: () => signedIn, path: '$', component: NotFound })

const operations = createRoute({
  getParentRoute: () => signedIn,
  path: '/operations',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Operations')),
    'Operations',
  ),
})

const now = createRoute({
  getParentRoute: () => operations,
  path: '/',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Now')),
    'Now',
  ),
})

const nodes = createRoute({
  getParentRoute: () => operations,
  path: '/nodes',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Nodes')),
    'Nodes',
  ),
  validateSearch: (search): { busy?: boolean } => ({ busy: search.busy === true ? true : undefined }),
})

const queue = createRoute({
  getParentRoute: () => operations,
  path: '/queue',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Queue')),
    'Queue',
  ),
})

const preparation = createRoute({
  getParentRoute: () => operations,
  path: '/preparation',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Preparation')),
    'Preparation',
  ),
})

const people = createRoute({
  getParentRoute: () => operations,
  path: '/people',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/People')),
    'People',
  ),
  validateSearch: (search): { person?: string } => ({ person: text(search.person) }),
})

const events = createRoute({
  getParentRoute: () => operations,
  path: '/events',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Events')),
    'Events',
  ),
  validateSearch: (search): EventFilter => ({
    entity: text(search.entity),
    entity_id: text(search.entity_id),
    fact: text(search.fact),
    owner: text(search.owner),
    trace_id: text(search.trace_id),
  }),
})

const traces = createRoute({
  getParentRoute: () => operations,
  path: '/traces',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Traces')),
    'Traces',
  ),
  validateSearch: (search): TraceFilter => ({
    lab_id: text(search.lab_id),
    service: text(search.service),
    name: text(search.name),
    errors_only: search.errors_only === true ? true : undefined,
    min_seconds: Number(search.min_seconds) > 0 ? Number(search.min_seconds) : undefined,
  }),
})

const trace = createRoute({
  getParentRoute: () => operations,
  path: '/traces/$traceId',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/Trace')),
    'Trace',
  ),
  validateSearch: (search): { span?: string } => ({ span: text(search.span) }),
})

const deadLetters = createRoute({
  getParentRoute: () => operations,
  path: '/dead-letters',
  component: lazyRouteComponent(
    retrying(() => import('./pages/operations/DeadLetters')),
    'DeadLetters',
  ),
})

const tree = root.addChildren([
  signIn,
  signedIn.addChildren([
    front,
    catalogue,
    datalab,
    launch,
    labs,
    lab,
    launching,
    openLab,
    data,
    collection,
    usage,
    nowhere,
    operations.addChildren([now, nodes, queue, preparation, people, events, traces, trace, deadLetters]),
  ]),
])

export function makeRouter(client: QueryClient) {
  return createRouter({
    routeTree: tree,
    context: { client },
    defaultPreload: 'intent',
    defaultPreloadDelay: 60,
    defaultPreloadStaleTime: 0,
    defaultErrorComponent: PageFailed,
    defaultNotFoundComponent: NotFound,
    scrollRestoration: true,
  })
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>
  }
}
