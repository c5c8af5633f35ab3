/** The facets of the catalogue as part of its address. */
import type { FacetValue } from '#/api/model'
import type { CatalogueSearch } from '#/api/queries'

export type FacetName = 'kind' | 'domain' | 'mission' | 'keyword'

export const FACETS: readonly { name: FacetName; title: string }[] = [
  { name: 'domain', title: 'Domain' },
  { name: 'mission', title: 'Mission' },
  { name: 'kind', title: 'Kind' },
  { name: 'keyword', title: 'Keyword' },
]

export function chosen(search: CatalogueSearch, name: FacetName): readonly string[] {
  return search[name] ?? []
}

/** The search with one choice added or taken away; an empty facet leaves the address. */
export function toggled(search: CatalogueSearch, name: FacetName, value: string): CatalogueSearch {
  const before = chosen(search, name)
  const after = before.includes(value) ? before.filter((other) => other !== value) : [...before, value]
  return { ...search, [name]: after.length > 0 ? after : undefined }
}

/** A choice stays visible when the search no longer has it, or nobody could take it away. */
export function withChosen(values: readonly FacetValue[], picked: readonly string[]): readonly FacetValue[] {
  const present = new Set(values.map((item) => item.value))
  return [...values, ...picked.filter((value) => !present.has(value)).map((value) => ({ value, count: 0 }))]
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
