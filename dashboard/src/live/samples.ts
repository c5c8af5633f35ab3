/** The newest CPU and memory samples of running labs, outside the query cache: they come often and end with the page. */
import { useSyncExternalStore } from 'react'
import type { Sample } from '#/api/model'

/** Fifteen minutes at one sample each five seconds. */
const KEPT = 180
const NONE: readonly Sample[] = []

class SampleStore {
  private byLab = new Map<string, readonly Sample[]>()
  private listeners = new Map<string, Set<() => void>>()

  get(labId: string): readonly Sample[] {
    return this.byLab.get(labId) ?? NONE
  }

  add(...samples: readonly Sample[]): void {
    const touched = new Set<string>()
    for (const sample of samples) {
      const known = this.get(sample.lab_id)
      const merged = insert(known, sample)
      if (merged === known) continue
      this.byLab.set(sample.lab_id, merged)
      touched.add(sample.lab_id)
    }
    for (const labId of touched) for (const listener of this.listeners.get(labId) ?? []) listener()
  }

  forget(labId: string): void {
    if (this.byLab.delete(labId)) for (const listener of this.listeners.get(labId) ?? []) listener()
  }

  subscribe(labId: string, listener: () => void): () => void {
    const set = this.listeners.get(labId) ?? new Set()
    this.listeners.set(labId, set)
    set.add(listener)
    return () => set.delete(listener)
  }
}

/** Samples by time, without doubles, only the newest kept. */
export function insert(known: readonly Sample[], sample: Sample, kept = KEPT): readonly Sample[] {
  const last = known.at(-1)
  if (!last || last.at < sample.at) return [...known, sample].slice(-kept)
  if (known.some((other) => other.at === sample.at)) return known
  return [...known, sample].sort((a, b) => (a.at < b.at ? -1 : 1)).slice(-kept)
}

export const samples = new SampleStore()

export function useSamples(labId: string): readonly Sample[] {
  return useSyncExternalStore(
    (listener) => samples.subscribe(labId, listener),
    () => samples.get(labId),
  )
}
