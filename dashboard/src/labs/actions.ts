/** What can be done with a lab, in one place: every page offers the same actions and words. */
import { notifications } from '@mantine/notifications'
import { useQueryClient } from '@tanstack/react-query'
import { createElement, useMemo } from 'react'
import { api } from '#/api/client'
import type { Lab } from '#/api/model'
import { tell } from '#/api/problems'
import { keys } from '#/api/queries'
import { useMergeLab } from '#/shell/live'
import { hideLab } from './hidden'
import { Undo } from './Undo'

export const UNDO_SECONDS = 7

export interface LabActions {
  open(lab: Pick<Lab, 'id'>): Promise<void>
  stop(lab: Lab): Promise<void>
  extend(lab: Pick<Lab, 'id'>, seconds?: number): Promise<void>
  restart(lab: Pick<Lab, 'id' | 'attempt'>, size?: string): Promise<Lab | null>
  /** Keep a lab for a long run until a moment; null ends that wish. */
  keep(lab: Pick<Lab, 'id'>, until: string | null): Promise<void>
  /** Stop a lab of which only the id is known. */
  cancel(lab: Pick<Lab, 'id'>): Promise<void>
  /** Operators: move a lab in the queue. */
  prioritise(lab: Pick<Lab, 'id'>, priority: number): Promise<void>
  remove(lab: Lab): void
}

function refused(error: unknown): void {
  const told = tell(error)
  notifications.show({
    color: 'red',
    withBorder: true,
    autoClose: 12_000,
    title: told.what,
    message: `${told.affected} ${told.now} (${told.code}${told.traceId ? `, trace ${told.traceId.slice(0, 8)}` : ''})`,
  })
}

export function useLabActions(): LabActions {
  const client = useQueryClient()
  const merge = useMergeLab()
  // biome-ignore lint/correctness/useExhaustiveDependencies: `merge` is made anew each render and does the same each time
  return useMemo(
    () => ({
      async open(lab) {
        // The tab must be asked for within the click, the address comes after it.
        const tab = window.open('about:blank', '_blank')
        if (tab) tab.opener = null
        try {
          const { url } = await api.post('/api/v1/labs/{lab_id}/open', { path: { lab_id: lab.id } })
          if (tab) tab.location.replace(url)
          else location.assign(url)
        } catch (error) {
          tab?.close()
          refused(error)
        }
      },
      async stop(lab) {
        const before = client.getQueryData<readonly Lab[]>(keys.labs)
        const stopping: Lab = { ...lab, state: 'stopping', progress: null, message: '' }
        client.setQueryData<readonly Lab[]>(keys.labs, (labs) =>
          labs?.map((other) => (other.id === lab.id ? stopping : other)),
        )
        client.setQueryData<Lab>(keys.lab(lab.id), (known) => known && stopping)
        try {
          merge(await api.post('/api/v1/labs/{lab_id}/stop', { path: { lab_id: lab.id } }))
        } catch (error) {
          client.setQueryData(keys.labs, before)
          void client.invalidateQueries({ queryKey: keys.lab(lab.id) })
          refused(error)
        }
      },
      async extend(lab, seconds) {
        try {
          merge(
            await api.post('/api/v1/labs/{lab_id}/extend', {
              path: { lab_id: lab.id },
              body: seconds ? { seconds } : {},
            }),
          )
        } catch (error) {
          refused(error)
        }
      },
      async keep(lab, until) {
        try {
          merge(await api.post('/api/v1/labs/{lab_id}/keep', { path: { lab_id: lab.id }, body: { until } }))
        } catch (error) {
          refused(error)
        }
      },
      async cancel(lab) {
        try {
          merge(await api.post('/api/v1/labs/{lab_id}/stop', { path: { lab_id: lab.id } }))
        } catch (error) {
          refused(error)
        }
      },
      async prioritise(lab, priority) {
        try {
          merge(
            await api.post('/api/v1/labs/{lab_id}/priority', {
              path: { lab_id: lab.id },
              body: { priority },
            }),
          )
          await client.invalidateQueries({ queryKey: keys.queue })
        } catch (error) {
          refused(error)
        }
      },
      async restart(lab, size) {
        try {
          const again = await api.post('/api/v1/labs/{lab_id}/restart', {
            path: { lab_id: lab.id },
            body: size ? { size } : {},
            headers: { 'idempotency-key': `${lab.id}-${lab.attempt + 1}` },
          })
          merge(again)
          return again
        } catch (error) {
          refused(error)
          return null
        }
      },
      remove(lab) {
        let done = false
        const show = hideLab(lab.id)
        const send = (keepalive: boolean): void => {
          if (done) return
          done = true
          removeEventListener('pagehide', leaving)
          api
            .delete('/api/v1/labs/{lab_id}', { path: { lab_id: lab.id }, keepalive })
            .then((gone) => merge({ ...gone, deleted: true }))
            .catch((error: unknown) => {
              show()
              refused(error)
            })
        }
        const leaving = (): void => send(true)
        addEventListener('pagehide', leaving)
        const id = `delete-${lab.id}`
        notifications.show({
          id,
          autoClose: UNDO_SECONDS * 1000,
          withBorder: true,
          title: `${lab.name} is deleted`,
          message: createElement(Undo, {
            undo: () => {
              done = true
              removeEventListener('pagehide', leaving)
              show()
              notifications.hide(id)
            },
          }),
          onClose: () => send(false),
        })
      },
    }),
    [client],
  )
}
