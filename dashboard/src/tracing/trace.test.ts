import { expect, it } from 'vitest'
import { nanos, otlp, randomHex } from './trace'

it('writes nanoseconds without losing digits', () => {
  expect(nanos(1_795_348_800_123.456)).toBe('1795348800123456000')
})

it('makes ids of the lengths that W3C asks for', () => {
  expect(randomHex(16)).toMatch(/^[0-9a-f]{32}$/)
  expect(randomHex(8)).not.toBe(randomHex(8))
})

it('is an OTLP export request', () => {
  const body = otlp({
    name: 'launch',
    traceId: 'a'.repeat(32),
    spanId: 'b'.repeat(16),
    start: 1,
    end: 2.5,
    attributes: { 'lab.id': 'k3v9x2mnpq', ok: true, tries: 2, share: 0.5 },
    error: 'quota_exceeded',
  })
  expect(body).toMatchObject({
    resourceSpans: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'dashboard' } }] },
        scopeSpans: [
          {
            spans: [
              {
                traceId: 'a'.repeat(32),
                startTimeUnixNano: '1000000',
                endTimeUnixNano: '2500000',
                status: { code: 2, message: 'quota_exceeded' },
                attributes: [
                  { key: 'lab.id', value: { stringValue: 'k3v9x2mnpq' } },
                  { key: 'ok', value: { boolValue: true } },
                  { key: 'tries', value: { intValue: '2' } },
                  { key: 'share', value: { doubleValue: 0.5 } },
                ],
              },
            ],
          },
        ],
      },
    ],
  })
})
