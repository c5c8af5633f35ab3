/**
 * The browser's part of a launch's trace: W3C trace context and one short span for the click.
 * Forty lines in place of the OpenTelemetry web SDK (some 60 kB compressed): the page makes exactly one kind of span.
 */

export interface ClickSpan {
  traceId: string
  traceparent: string
  end(attributes: Record<string, string | number | boolean>, error?: string): void
}

export function randomHex(bytes: number): string {
  const values = crypto.getRandomValues(new Uint8Array(bytes))
  return Array.from(values, (value) => value.toString(16).padStart(2, '0')).join('')
}

/** Nanoseconds since 1970 as a decimal string: more digits than a number holds. */
export function nanos(milliseconds: number): string {
  return (BigInt(Math.round(milliseconds * 1000)) * 1000n).toString()
}

/** Start the span at the moment of the click (`event.timeStamp`), not when its handler ran. */
export function clickSpan(name: string, timeStamp: number = performance.now()): ClickSpan {
  const traceId = randomHex(16)
  const spanId = randomHex(8)
  const start = performance.timeOrigin + timeStamp
  return {
    traceId,
    traceparent: `00-${traceId}-${spanId}-01`,
    end(attributes, error) {
      const now = performance.timeOrigin + performance.now()
      send(otlp({ name, traceId, spanId, start, end: now, attributes, error }))
    },
  }
}

export interface BrowserSpan {
  name: string
  traceId: string
  spanId: string
  start: number
  end: number
  attributes: Record<string, string | number | boolean>
  error?: string | undefined
}

/** One span as an OTLP/JSON export request. */
export function otlp(span: BrowserSpan): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: [attribute('service.name', 'dashboard')] },
        scopeSpans: [
          {
            scope: { name: 'datalabs.dashboard' },
            spans: [
              {
                traceId: span.traceId,
                spanId: span.spanId,
                name: span.name,
                kind: 3,
                startTimeUnixNano: nanos(span.start),
                endTimeUnixNano: nanos(span.end),
                attributes: Object.entries(span.attributes).map(([key, value]) => attribute(key, value)),
                status: span.error ? { code: 2, message: span.error } : {},
              },
            ],
          },
        ],
      },
    ],
  }
}

function attribute(key: string, value: string | number | boolean): object {
  if (typeof value === 'string') return { key, value: { stringValue: value } }
  if (typeof value === 'boolean') return { key, value: { boolValue: value } }
  return { key, value: Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value } }
}

/** Telemetry that cannot be delivered is dropped: it never slows or breaks a launch. */
function send(body: object): void {
  void fetch('/api/v1/telemetry', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    keepalive: true,
  }).catch(() => undefined)
}
