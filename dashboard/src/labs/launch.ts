/** The launch itself: one key for one intention, one span for one click. */
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useRef } from 'react'
import { api } from '#/api/client'
import type { Lab, LaunchBody, Timeline } from '#/api/model'
import { ProblemError } from '#/api/problems'
import { keys, timelineQuery } from '#/api/queries'
import { useMergeLab } from '#/shell/live'
import { clickSpan } from '#/tracing/trace'

interface Click {
  body: LaunchBody
  /** `event.timeStamp` of the click. */
  timeStamp: number
  /** Usual seconds of each phase, as the preflight told them: the bar is there before the first answer. */
  usual: Record<string, number>
}

/**
 * Two clicks on the button are one launch: the idempotency key belongs to the choices and stays until they change or
 * the launch was accepted.
 */
export function useLaunch() {
  const client = useQueryClient()
  const merge = useMergeLab()
  const navigate = useNavigate()
  const intent = useRef<{ choices: string; key: string } | null>(null)
  return useMutation({
    mutationFn: async ({ body, timeStamp }: Click): Promise<Lab> => {
      const choices = JSON.stringify(body)
      if (intent.current?.choices !== choices) intent.current = { choices, key: crypto.randomUUID() }
      const span = clickSpan('launch', timeStamp)
      try {
        const lab = await api.post('/api/v1/labs', {
          body,
          headers: { traceparent: span.traceparent, 'idempotency-key': intent.current.key },
        })
        span.end({ 'datalab.slug': body.datalab, 'lab.id': lab.id })
        return lab
      } catch (error) {
        span.end({ 'datalab.slug': body.datalab }, error instanceof ProblemError ? error.code : 'error')
        throw error
      }
    },
    onSuccess: (lab, { usual }) => {
      intent.current = null
      client.setQueryData(keys.lab(lab.id), lab)
      if (lab.state === 'queued') client.setQueryData(timelineQuery(lab.id).queryKey, beginning(lab, usual))
      merge(lab)
      void navigate({ to: '/labs/$labId/launching', params: { labId: lab.id } })
    },
  })
}

/** The timeline of a lab that was stored a moment ago. */
function beginning(lab: Lab, usual: Record<string, number>): Timeline {
  const queued = {
    name: 'queued',
    started_at: lab.created_at,
    ended_at: null,
    seconds: 0,
    text: '',
    steps: [],
  }
  return {
    lab_id: lab.id,
    attempt: lab.attempt,
    trace_id: lab.trace_id ?? null,
    seconds: 0,
    phases: [queued],
    usual,
  }
}
