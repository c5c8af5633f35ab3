/** A form from the JSON Schema of a datalab's parameters: the part of the language that a form can show, the rest as JSON. */

export type FieldKind = 'text' | 'long' | 'integer' | 'number' | 'boolean' | 'choice' | 'several' | 'json'

export interface Field {
  name: string
  title: string
  description: string
  kind: FieldKind
  required: boolean
  default: unknown
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  pattern?: string
  choices: { value: unknown; title: string }[]
}

/** What a person has typed or chosen, by field; a text field's number is still text. */
export type Entered = Record<string, unknown>

type Schema = Record<string, unknown>

const LONG_TEXT = 200

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function fieldsOf(schema: unknown): Field[] {
  if (!isSchema(schema) || !isSchema(schema.properties)) return []
  const required = Array.isArray(schema.required) ? schema.required : []
  return Object.entries(schema.properties).flatMap(([name, property]) =>
    isSchema(property) ? [fieldOf(name, property, required.includes(name))] : [],
  )
}

function fieldOf(name: string, property: Schema, required: boolean): Field {
  const choices = choicesOf(property)
  const field: Field = {
    name,
    title: typeof property.title === 'string' ? property.title : words(name),
    description: typeof property.description === 'string' ? property.description : '',
    kind: kindOf(property, choices.length > 0),
    required,
    default: property.default,
    choices,
  }
  for (const bound of ['minimum', 'maximum', 'minLength', 'maxLength'] as const) {
    const value = property[bound]
    if (typeof value === 'number') field[bound] = value
  }
  if (typeof property.pattern === 'string') field.pattern = property.pattern
  return field
}

function choicesOf(property: Schema): Field['choices'] {
  const items = isSchema(property.items) ? property.items : property
  if (Array.isArray(items.enum)) return items.enum.map((value) => ({ value, title: words(String(value)) }))
  const options = items.oneOf ?? items.anyOf
  if (Array.isArray(options) && options.every((option) => isSchema(option) && 'const' in option)) {
    return (options as Schema[]).map((option) => ({
      value: option.const,
      title: typeof option.title === 'string' ? option.title : words(String(option.const)),
    }))
  }
  return []
}

function kindOf(property: Schema, hasChoices: boolean): FieldKind {
  const type = Array.isArray(property.type) ? property.type.find((one) => one !== 'null') : property.type
  if (type === 'array') return hasChoices ? 'several' : 'json'
  if (hasChoices) return 'choice'
  if (type === 'integer' || type === 'number' || type === 'boolean') return type
  if (type === 'string' || type === undefined) {
    return typeof property.maxLength === 'number' && property.maxLength > LONG_TEXT ? 'long' : 'text'
  }
  return 'json'
}

function words(name: string): string {
  const text = name.replaceAll(/[_-]+/g, ' ').trim()
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** What the form shows for a field: what was entered, else the default. */
export function shownValue(field: Field, entered: Entered): unknown {
  if (field.name in entered) return entered[field.name]
  if (field.default === undefined)
    return field.kind === 'boolean' ? false : field.kind === 'several' ? [] : ''
  return field.kind === 'json' ? JSON.stringify(field.default) : field.default
}

/** What is wrong with a field, in one sentence; null when nothing is. */
export function problemOf(field: Field, entered: Entered): string | null {
  const value = shownValue(field, entered)
  if (value === '' || value === undefined || value === null) return field.required ? 'This is needed.' : null
  switch (field.kind) {
    case 'integer':
    case 'number':
      return numberProblem(field, Number(value))
    case 'text':
    case 'long':
      return textProblem(field, String(value))
    case 'several':
      return field.required && Array.isArray(value) && value.length === 0 ? 'Choose at least one.' : null
    case 'json':
      return parses(String(value)) ? null : 'This is not valid JSON.'
    default:
      return null
  }
}

function numberProblem(field: Field, value: number): string | null {
  if (!Number.isFinite(value)) return 'This must be a number.'
  if (field.kind === 'integer' && !Number.isInteger(value)) return 'This must be a whole number.'
  if (field.minimum !== undefined && value < field.minimum) return `This must be at least ${field.minimum}.`
  if (field.maximum !== undefined && value > field.maximum) return `This must be at most ${field.maximum}.`
  return null
}

function textProblem(field: Field, value: string): string | null {
  if (field.minLength !== undefined && value.length < field.minLength) {
    return `This needs at least ${field.minLength} characters.`
  }
  if (field.maxLength !== undefined && value.length > field.maxLength) {
    return `This takes at most ${field.maxLength} characters.`
  }
  if (field.pattern !== undefined && !fits(field.pattern, value)) return 'This has not the expected form.'
  return null
}

/** A pattern that a browser cannot read is left to the platform to judge. */
function fits(pattern: string, value: string): boolean {
  try {
    return new RegExp(pattern, 'u').test(value)
  } catch {
    return true
  }
}

function parses(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

export function problemsOf(fields: readonly Field[], entered: Entered): Record<string, string> {
  const found: Record<string, string> = {}
  for (const field of fields) {
    const problem = problemOf(field, entered)
    if (problem) found[field.name] = problem
  }
  return found
}

/** The parameters to send: what was entered, typed; what was left alone is left to the datalab's defaults. */
export function parametersOf(fields: readonly Field[], entered: Entered): Record<string, unknown> {
  const parameters: Record<string, unknown> = {}
  for (const field of fields) {
    if (!(field.name in entered)) continue
    const value = entered[field.name]
    if (value === '' || value === undefined || value === null) continue
    if (field.kind === 'integer' || field.kind === 'number') parameters[field.name] = Number(value)
    else if (field.kind === 'json') parameters[field.name] = JSON.parse(String(value))
    else parameters[field.name] = value
  }
  return parameters
}
