import { useSyncExternalStore } from 'react'

/** One clock for all relative times of a page, so that they change together; it rests while nobody looks. */
class Ticker {
  private now = Date.now()
  private timer: ReturnType<typeof setInterval> | undefined
  private readonly listeners = new Set<() => void>()

  constructor(private readonly every: number) {}

  readonly get = (): number => this.now

  readonly subscribe = (listener: () => void): (() => void) => {
    if (this.listeners.size === 0) {
      this.tick()
      this.timer = setInterval(this.tick, this.every)
    }
    this.listeners.add(listener)
    return () => {
      this.listeners.delete(listener)
      if (this.listeners.size === 0) clearInterval(this.timer)
    }
  }

  private readonly tick = (): void => {
    this.now = Date.now()
    for (const listener of this.listeners) listener()
  }
}

const seconds = new Ticker(1_000)
const fast = new Ticker(100)
const minutes = new Ticker(15_000)

/** The present in milliseconds, renewed each second. */
export function useNow(): number {
  return useSyncExternalStore(seconds.subscribe, seconds.get)
}

/** The present, renewed ten times a second: for a launch that takes less than one. */
export function useFastNow(): number {
  return useSyncExternalStore(fast.subscribe, fast.get)
}

/** The present, renewed four times a minute: for what is sorted by it. */
export function useSlowNow(): number {
  return useSyncExternalStore(minutes.subscribe, minutes.get)
}
