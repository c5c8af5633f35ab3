/** Requests to the platform, typed by its OpenAPI document. */
import { ProblemError } from './problems'
import type { paths } from './schema.gen'
import { session } from './session'

type Method = 'get' | 'post' | 'put' | 'delete'
type Operation<P extends keyof paths, M extends Method> = paths[P][M]
type Json<R> = R extends { content: { 'application/json': infer Body } } ? Body : undefined
type Good<R> = R extends { 200: infer A }
  ? Json<A>
  : R extends { 201: infer A }
    ? Json<A>
    : R extends { 202: infer A }
      ? Json<A>
      : undefined
type Answer<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { responses: infer R } ? Good<R> : never
type Query<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { parameters: { query?: infer Q } } ? Q : never
type PathOf<P extends keyof paths, M extends Method> =
  Operation<P, M> extends { parameters: { path: infer V } } ? V : never
type BodyOf<P extends keyof paths, M extends Method> =
  Operation<P, M> extends {
    requestBody?: { content: { 'application/json': infer B } }
  }
    ? B
    : never

/** The paths that have this method. */
export type PathsWith<M extends Method> = {
  [P in keyof paths]: paths[P] extends { [K in M]: { responses: unknown } } ? P : never
}[keyof paths]

export interface Options<P extends keyof paths, M extends Method> {
  path?: PathOf<P, M>
  query?: Query<P, M>
  body?: BodyOf<P, M>
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
  keepalive?: boolean
  /** `throw` lets a 401 through to the caller (sign-in itself, the first look who is there). */
  unauthenticated?: 'wait' | 'throw'
}

async function call<P extends keyof paths, M extends Method>(
  method: M,
  path: P,
  options: Options<P, M> = {},
): Promise<Answer<P, M>> {
  for (;;) {
    const response = await send(method, path as string, options)
    if (response.ok) {
      if (response.status === 204) return undefined as Answer<P, M>
      return (await response.json()) as Answer<P, M>
    }
    const problem = await ProblemError.from(response)
    const signedOut = problem.code === 'not_signed_in' || problem.code === 'session_expired'
    if (!signedOut || options.unauthenticated === 'throw') throw problem
    await session.expired()
    options.signal?.throwIfAborted()
  }
}

/**
 * Pauses after a connection that broke. Every request may be sent again: reads change nothing, a launch and a restart
 * carry a key, the others ask for a state rather than a step. Chromium breaks all its connections whenever a network
 * interface comes or goes (ERR_NETWORK_CHANGED), which is at each start of a lab on the same machine.
 */
const RETRIES_MS = [60, 300, 900]

async function send(
  method: string,
  path: string,
  options: Options<never, never> | object,
): Promise<Response> {
  const {
    path: values,
    query,
    body,
    headers,
    signal,
    keepalive,
  } = options as {
    path?: Record<string, string>
    query?: Record<string, unknown>
    body?: unknown
    headers?: Record<string, string>
    signal?: AbortSignal
    keepalive?: boolean
  }
  const init = {
    method: method.toUpperCase(),
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    keepalive,
  } as RequestInit
  for (const wait of RETRIES_MS) {
    try {
      return await fetch(address(path, values, query), init)
    } catch (error) {
      if (signal?.aborted || (error instanceof DOMException && error.name === 'AbortError')) throw error
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  }
  throw ProblemError.noConnection()
}

/** Fill `{names}` and append a query; arrays repeat their key, empty values are left out. */
export function address(
  path: string,
  values?: Record<string, string>,
  query?: Record<string, unknown>,
): string {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(values?.[name] ?? ''))
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query ?? {})) {
    if (Array.isArray(value)) for (const item of value) search.append(key, String(item))
    else if (value !== undefined && value !== null && value !== '') search.append(key, String(value))
  }
  const text = search.toString()
  return text ? `${filled}?${text}` : filled
}

export const api = {
  get: <P extends PathsWith<'get'>>(path: P, options?: Options<P, 'get'>) => call('get', path, options),
  post: <P extends PathsWith<'post'>>(path: P, options?: Options<P, 'post'>) => call('post', path, options),
  put: <P extends PathsWith<'put'>>(path: P, options?: Options<P, 'put'>) => call('put', path, options),
  delete: <P extends PathsWith<'delete'>>(path: P, options?: Options<P, 'delete'>) =>
    call('delete', path, options),
}
