import { Switch } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import type { Lab } from '#/api/model'
import { keys, logsQuery } from '#/api/queries'
import { LastLines } from '#/labs/LabButtons'
import { useSamples } from '#/live/samples'
import { Log } from '#/parts/Log'
import { Panel, Pending } from '#/parts/Page'
import { Told } from '#/parts/Told'
import css from './lab.module.css'

/** The end of the log; it is read again with each sample of the lab, so it follows a running lab without a clock. */
export function LogPanel({ lab, attempt }: { lab: Lab; attempt: number }) {
  const client = useQueryClient()
  const { data, error, refetch } = useQuery(logsQuery(lab.id, attempt === lab.attempt ? undefined : attempt))
  const [follow, setFollow] = useState(true)
  const box = useRef<HTMLElement>(null)
  const newest = useSamples(lab.id).at(-1)?.at
  useEffect(() => {
    if (newest && follow && !document.hidden) void client.invalidateQueries({ queryKey: keys.logs(lab.id) })
  }, [client, follow, lab.id, newest])
  const lines = data?.lines
  useEffect(() => {
    if (follow && lines && box.current) box.current.scrollTop = box.current.scrollHeight
  }, [follow, lines])
  const empty = data && data.lines.length === 0
  return (
    <Panel
      title="Log"
      actions={
        <Switch
          size="sm"
          label="Follow"
          checked={follow}
          onChange={(event) => setFollow(event.currentTarget.checked)}
        />
      }
    >
      {error && (lab.last_lines ?? []).length > 0 && <LastLines lab={lab} />}
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="12rem" />}
      {empty && <p style={{ color: 'var(--ink-2)' }}>It has written nothing yet.</p>}
      {data && !empty && (
        <>
          {data.truncated && (
            <p style={{ color: 'var(--ink-3)', fontSize: '0.8125rem' }}>The last {data.lines.length} lines</p>
          )}
          <Log box={box} label="Log lines" text={data.lines.join('\n')} className={css.log} />
        </>
      )}
    </Panel>
  )
}
