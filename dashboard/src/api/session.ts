/** Whether this browser is signed in. A request that meets an ended session waits here until somebody signs in again. */

export type SessionState = 'unknown' | 'in' | 'expired' | 'out'

type Listener = () => void

class SessionStore {
  private state: SessionState = 'unknown'
  private listeners = new Set<Listener>()
  private waiting: (() => void)[] = []

  readonly subscribe = (listener: Listener): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  readonly get = (): SessionState => this.state

  set(state: SessionState): void {
    if (state === this.state) return
    this.state = state
    if (state === 'in') {
      const waiting = this.waiting
      this.waiting = []
      for (const go of waiting) go()
    }
    for (const listener of this.listeners) listener()
  }

  /** Called when the API answered 401 in the middle of work; resolves once the person is signed in again. */
  expired(): Promise<void> {
    this.set('expired')
    return new Promise((resolve) => this.waiting.push(resolve))
  }
}

export const session = new SessionStore()
