/** Labs whose deletion can still be undone: off the page already, not yet off the platform. */
import { useSyncExternalStore } from 'react'

let hidden: ReadonlySet<string> = new Set()
const listeners = new Set<() => void>()

function change(next: ReadonlySet<string>): void {
  hidden = next
  for (const listener of listeners) listener()
}

/** Hide a lab; the returned function shows it again. */
export function hideLab(id: string): () => void {
  change(new Set([...hidden, id]))
  return () => change(new Set([...hidden].filter((other) => other !== id)))
}

export function useHiddenLabs(): ReadonlySet<string> {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => hidden,
  )
}
