import { Button } from '@mantine/core'
import { notifications } from '@mantine/notifications'
import { useQueryClient } from '@tanstack/react-query'
import {
  createContext,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useSyncExternalStore,
} from 'react'
import { api } from '#/api/client'
import type { Lab, Me } from '#/api/model'
import { keys, meQuery } from '#/api/queries'
import { session } from '#/api/session'
import { LiveChannel, type LiveStatus } from '#/live/channel'
import { type Fact, LiveHub } from '#/live/hub'
import type { Notice } from '#/live/notices'

const KEPT_NOTICES = 40

/** Status and notices of the live connection, for whoever draws them. */
class LiveStore {
  status: LiveStatus = { state: 'connecting', heardAt: Date.now() }
  notices: readonly Notice[] = []
  seenAt = Date.now()
  private readonly listeners = new Set<() => void>()

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  setStatus(status: LiveStatus): void {
    this.status = status
    this.changed()
  }

  addNotice(notice: Notice): boolean {
    if (this.notices.some((known) => known.id === notice.id)) return false
    this.notices = [notice, ...this.notices].slice(0, KEPT_NOTICES)
    this.changed()
    return true
  }

  seen(): void {
    this.seenAt = Date.now()
    this.changed()
  }

  private changed(): void {
    for (const listener of this.listeners) listener()
  }
}

interface Live {
  store: LiveStore
  hub: LiveHub
  tellSession(state: 'in' | 'out'): void
}

/** A toast's words, with what keeps the lab where it can be kept. */
function NoticeText({ text, keep }: { text: string; keep?: (() => void) | undefined }) {
  return (
    <span style={{ display: 'grid', gap: '0.375rem', justifyItems: 'start' }}>
      {text}
      {keep && (
        <Button size="compact-sm" onClick={keep}>
          Extend
        </Button>
      )}
    </span>
  )
}

const LiveContext = createContext<Live | null>(null)

const TOASTS: Record<Notice['tone'], { color: string; autoClose: number | false } | null> = {
  good: null,
  rest: null,
  warn: { color: 'yellow', autoClose: 20_000 },
  bad: { color: 'red', autoClose: 12_000 },
}

/** Follow the platform's events for as long as somebody is signed in. */
export function LiveProvider({ me, children }: { me: Me; children: ReactNode }) {
  const client = useQueryClient()
  const channel = useRef<LiveChannel | null>(null)
  const live = useMemo<Live>(() => {
    const store = new LiveStore()
    const notify = (notice: Notice): void => {
      if (!store.addNotice(notice)) return
      const toast = TOASTS[notice.tone]
      if (toast && !document.hidden) {
        const keep = (): void => {
          notifications.hide(notice.id)
          void api
            .post('/api/v1/labs/{lab_id}/extend', { path: { lab_id: notice.labId }, body: {} })
            .then((lab) => hub.lab(null, lab))
            .catch(() => client.invalidateQueries({ queryKey: keys.labs }))
        }
        notifications.show({
          id: notice.id,
          title: notice.title,
          message: <NoticeText text={notice.text} keep={notice.extendable ? keep : undefined} />,
          ...toast,
          withBorder: true,
        })
      }
    }
    const hub = new LiveHub(client, me, notify)
    return {
      store,
      hub,
      tellSession: (state) => channel.current?.tellSession(state),
    }
  }, [client, me])

  useEffect(() => {
    const operator = me.roles.includes('operator')
    const opened = new LiveChannel(`/api/v1/events${operator ? '?all=true' : ''}`, {
      event: (event) => live.hub.take(event),
      status: (status) => {
        live.store.setStatus(status)
        if (status.state === 'signed-out') session.set('expired')
      },
      session: (state) => {
        if (state === 'out') {
          location.assign('/sign-in')
          return
        }
        void client.fetchQuery({ ...meQuery, staleTime: 0 }).then((now) => {
          if (now.username !== me.username) location.reload()
          else session.set('in')
        })
      },
      // A stream that is gone has no figures to give back, and the next one says again what is wanted.
      figures: (stream, wanted) =>
        void api
          .put('/api/v1/events/samples', { body: { stream, wanted }, unauthenticated: 'throw' })
          .catch(() => undefined),
    })
    channel.current = opened
    return () => {
      channel.current = null
      opened.close()
    }
  }, [client, live, me])

  return <LiveContext.Provider value={live}>{children}</LiveContext.Provider>
}

function useLive(): Live {
  const live = useContext(LiveContext)
  if (!live) throw new Error('useLive outside of LiveProvider')
  return live
}

export function useLiveStatus(): LiveStatus {
  const { store } = useLive()
  return useSyncExternalStore(store.subscribe, () => store.status)
}

export function useNotices(): { notices: readonly Notice[]; unseen: number; see: () => void } {
  const { store } = useLive()
  const notices = useSyncExternalStore(store.subscribe, () => store.notices)
  const seenAt = useSyncExternalStore(store.subscribe, () => store.seenAt)
  return { notices, unseen: notices.filter((notice) => notice.at > seenAt).length, see: () => store.seen() }
}

/** Facts that came while the page was open, newest first. */
export function useFacts(): readonly Fact[] {
  const { hub } = useLive()
  return useSyncExternalStore(hub.subscribe, hub.tail)
}

/** Put a lab that a reply brought where an event would have put it. */
export function useMergeLab(): (lab: Lab) => void {
  const { hub } = useLive()
  return (lab) => hub.lab(null, lab)
}

export function useTellSession(): (state: 'in' | 'out') => void {
  return useLive().tellSession
}
