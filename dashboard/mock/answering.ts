/** Requests and answers of the mock platform. */
import type { IncomingMessage, ServerResponse } from 'node:http'

export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail = '',
    readonly extra: Record<string, unknown> = {},
  ) {
    super(title)
  }
}

/** Write a refusal as the problem document that it is. */
export function refuse(response: ServerResponse, error: Refusal): void {
  const body = {
    type: `https://open-datalabs.org/problems/${error.code}`,
    title: error.title,
    status: error.status,
    code: error.code,
    detail: error.detail,
    trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
    errors: [],
    retry_after: null,
    extra: error.extra,
  }
  answer(response, error.status, JSON.stringify(body), 'application/problem+json')
}

export function answer(response: ServerResponse, status: number, body: string, type: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
  response.end(body)
}

export async function read(request: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return text ? JSON.parse(text) : {}
}
