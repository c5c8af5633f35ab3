import { useSyncExternalStore } from 'react'

function subscribe(listener: () => void): () => void {
  document.addEventListener('visibilitychange', listener)
  return () => document.removeEventListener('visibilitychange', listener)
}

/** Whether somebody can see this tab. */
export function useVisible(): boolean {
  return useSyncExternalStore(subscribe, () => !document.hidden)
}
