/** Events into cached data: whatever arrives doubled, late or shuffled, the highest revision stands. */
import type { Collection, Datalab, DatalabDetail, DatalabPage, Lab, Readiness, Volume } from '#/api/model'

/**
 * Put a lab into a list that is ordered newest first. The same list comes back when nothing changes, so that nobody
 * renders for an old event. A deleted lab leaves the list; `Revisions` keeps a late event from bringing it back.
 */
export function mergeLab(labs: readonly Lab[], lab: Lab): readonly Lab[] {
  const at = labs.findIndex((other) => other.id === lab.id)
  const known = at < 0 ? undefined : labs[at]
  if (!known) {
    if (lab.deleted) return labs
    const before = labs.findIndex((other) => other.created_at < lab.created_at)
    const place = before < 0 ? labs.length : before
    return [...labs.slice(0, place), lab, ...labs.slice(place)]
  }
  if (known.revision >= lab.revision) return labs
  if (lab.deleted) return labs.filter((other) => other.id !== lab.id)
  return labs.map((other) => (other.id === lab.id ? lab : other))
}

/** The highest revision seen of each thing, also of those that are gone. */
export class Revisions {
  private readonly highest = new Map<string, number>()

  /** Whether this is news; remembers it if so. */
  news(key: string, revision: number): boolean {
    const known = this.highest.get(key)
    if (known !== undefined && known >= revision) return false
    this.highest.set(key, revision)
    return true
  }
}

/** The newer of two readings of one thing. */
export function newer<T extends { revision: number }>(known: T | undefined, read: T): T {
  return known !== undefined && known.revision >= read.revision ? known : read
}

/** Replace one of a list by its newer reading; unknown ones are left out unless `add`. */
export function mergeOne<T extends { revision: number }>(
  items: readonly T[],
  read: T,
  same: (item: T) => boolean,
  add = false,
): readonly T[] {
  const known = items.find(same)
  if (!known) return add ? [...items, read] : items
  if (known.revision >= read.revision) return items
  return items.map((item) => (item === known ? read : item))
}

function withReadiness<T extends Datalab>(datalab: T, readiness: Readiness): T {
  if (datalab.slug !== readiness.datalab || datalab.latest_version !== readiness.version) return datalab
  if (datalab.readiness && (datalab.readiness.revision ?? 0) >= (readiness.revision ?? 0)) return datalab
  return { ...datalab, readiness }
}

export function mergeReadiness(page: DatalabPage, readiness: Readiness): DatalabPage {
  const items = page.items.map((datalab) => withReadiness(datalab, readiness))
  return items.some((item, index) => item !== page.items[index]) ? { ...page, items } : page
}

export function mergeDetailReadiness(detail: DatalabDetail, readiness: Readiness): DatalabDetail {
  return withReadiness(detail, readiness)
}

/** A changed card; its readiness stays, since the catalogue does not know it. */
export function mergeDatalab(page: DatalabPage, datalab: Datalab): DatalabPage {
  const items = page.items.map((known) =>
    known.slug === datalab.slug && known.revision < datalab.revision
      ? { ...datalab, readiness: datalab.readiness ?? known.readiness }
      : known,
  )
  return items.some((item, index) => item !== page.items[index]) ? { ...page, items } : page
}

export function mergeCollection(items: readonly Collection[], read: Collection): readonly Collection[] {
  return mergeOne(items, read, (item) => item.id === read.id, true)
}

export function mergeVolume(items: readonly Volume[], read: Volume): readonly Volume[] {
  return mergeOne(items, read, (item) => item.id === read.id, true)
}
