import { describe, expect, it } from 'vitest'
import { fieldsOf, parametersOf, problemOf, problemsOf, shownValue } from './schema'

const SCHEMA = {
  type: 'object',
  required: ['year', 'station'],
  properties: {
    year: { type: 'integer', title: 'Year', minimum: 1973, maximum: 2026, default: 2025 },
    station: { type: 'string', pattern: '^[A-Z]{4}$' },
    magnitude: { type: ['number', 'null'], maximum: 7 },
    plots: { type: 'boolean', default: true },
    quantity: { enum: ['ut1_utc', 'polar_motion'], default: 'ut1_utc' },
    bands: { type: 'array', items: { enum: ['g', 'r', 'i'] }, default: ['g'] },
    weight: {
      oneOf: [
        { const: 1, title: 'Light' },
        { const: 2, title: 'Heavy' },
      ],
    },
    notes: { type: 'string', maxLength: 2000 },
    extra: { type: 'object' },
  },
}
const fields = fieldsOf(SCHEMA)
const field = (name: string) => {
  const found = fields.find((one) => one.name === name)
  if (!found) throw new Error(name)
  return found
}

describe('fieldsOf', () => {
  it('finds a kind of input for each property', () => {
    expect(Object.fromEntries(fields.map((one) => [one.name, one.kind]))).toEqual({
      year: 'integer',
      station: 'text',
      magnitude: 'number',
      plots: 'boolean',
      quantity: 'choice',
      bands: 'several',
      weight: 'choice',
      notes: 'long',
      extra: 'json',
    })
  })

  it('takes titles from the schema, else from the name', () => {
    expect(field('year').title).toBe('Year')
    expect(field('quantity').choices.map((choice) => choice.title)).toEqual(['Ut1 utc', 'Polar motion'])
    expect(field('weight').choices).toEqual([
      { value: 1, title: 'Light' },
      { value: 2, title: 'Heavy' },
    ])
  })

  it('makes no form of what is no schema', () => {
    expect(fieldsOf(undefined)).toEqual([])
    expect(fieldsOf({ properties: [] })).toEqual([])
  })
})

describe('values', () => {
  it('shows defaults and sends only what was entered, typed', () => {
    expect(shownValue(field('year'), {})).toBe(2025)
    expect(parametersOf(fields, {})).toEqual({})
    expect(parametersOf(fields, { year: '2020', station: 'WTZR', extra: '{"a": 1}', magnitude: '' })).toEqual(
      {
        year: 2020,
        station: 'WTZR',
        extra: { a: 1 },
      },
    )
  })
})

describe('problems', () => {
  it('names what is missing or out of bounds', () => {
    expect(problemsOf(fields, {})).toEqual({ station: 'This is needed.' })
    expect(problemOf(field('year'), { year: 1900 })).toBe('This must be at least 1973.')
    expect(problemOf(field('year'), { year: '2000.5' })).toBe('This must be a whole number.')
    expect(problemOf(field('station'), { station: 'wtzr' })).toBe('This has not the expected form.')
    expect(problemOf(field('extra'), { extra: '{' })).toBe('This is not valid JSON.')
    expect(problemOf(field('magnitude'), { magnitude: '' })).toBeNull()
  })

  it('leaves a pattern that a browser cannot read to the platform', () => {
    expect(problemOf({ ...field('station'), pattern: '(?P<a>x' }, { station: 'x' })).toBeNull()
  })
})
