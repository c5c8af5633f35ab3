import { NativeSelect } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import type { Lab, Timeline } from '#/api/model'
import { timelineQuery } from '#/api/queries'
import { duration, millis } from '#/format/time'
import { PhaseBar } from '#/labs/PhaseBar'
import { consistent, phaseWord, segments } from '#/labs/phases'
import { coming } from '#/labs/states'
import { useFastNow } from '#/parts/now'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { Told } from '#/parts/Told'
import css from './lab.module.css'

const route = getRouteApi('/signed-in/labs/$labId')

/** The launch phase by phase, beside what is usual. */
export function TimelinePanel({ lab, attempt }: { lab: Lab; attempt: number }) {
  const {
    data: timeline,
    error,
    refetch,
  } = useQuery(timelineQuery(lab.id, attempt === lab.attempt ? undefined : attempt))
  const navigate = route.useNavigate()
  const shown = attempt === lab.attempt ? consistent(timeline, lab) : timeline
  return (
    <Panel
      title="Launch"
      actions={
        lab.attempt > 1 && (
          <NativeSelect
            size="xs"
            aria-label="Attempt"
            value={attempt}
            onChange={(event) => {
              const chosen = Number(event.currentTarget.value)
              void navigate({
                search: { attempt: chosen === lab.attempt ? undefined : chosen },
                replace: true,
                resetScroll: false,
              })
            }}
            data={Array.from({ length: lab.attempt }, (_, index) => ({
              value: String(lab.attempt - index),
              label: `Attempt ${lab.attempt - index}`,
            }))}
          />
        )
      }
    >
      {error && <Told error={error} again={() => void refetch()} />}
      {!timeline && !error && <Pending height="8rem" />}
      {shown && <TimelineTable timeline={shown} lab={lab} current={attempt === lab.attempt} />}
    </Panel>
  )
}

function TimelineTable({ timeline, lab, current }: { timeline: Timeline; lab: Lab; current: boolean }) {
  const now = useFastNow()
  const going = current && coming(lab)
  const parts = segments(timeline, now, !going)
  const steps = new Map(timeline.phases.map((phase) => [phase.name, phase.steps ?? []]))
  const longest = Math.max(0.001, ...parts.map((part) => Math.max(part.seconds, part.usual ?? 0)))
  return (
    <>
      <p>
        {going ? 'Launching for ' : 'From the request to ready in '}
        <b>
          {duration(
            going
              ? (now - millis(timeline.phases[0]?.started_at ?? lab.created_at)) / 1000
              : timeline.seconds,
          )}
        </b>
        {Object.keys(timeline.usual ?? {}).length > 0 &&
          `; usually ${duration(Object.values(timeline.usual ?? {}).reduce((sum, value) => sum + value, 0))}`}
      </p>
      <PhaseBar segments={parts} compact failed={lab.state === 'failed' && current} />
      <div className={partsCss.scroller}>
        <table className={partsCss.table}>
          <thead>
            <tr>
              <th scope="col">Phase</th>
              <th scope="col" data-number>
                Took
              </th>
              <th scope="col" data-number>
                Usually
              </th>
              <th scope="col" style={{ width: '35%' }}>
                <span className="sr">Share</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {parts.map((part) => (
              <tr key={part.name}>
                <td>
                  {phaseWord(part.name)}
                  {part.text && (
                    <div style={{ color: 'var(--ink-3)', fontSize: '0.8125rem' }}>{part.text}</div>
                  )}
                  {steps.get(part.name)?.map((step) => (
                    <div key={`${step.name}${step.started_at}`} className={css.step}>
                      <span>{step.text || phaseWord(step.name)}</span>
                      <span>{duration(step.seconds)}</span>
                    </div>
                  ))}
                </td>
                <td data-number>{part.state === 'ahead' ? '–' : duration(part.seconds)}</td>
                <td data-number>{part.usual === null ? '–' : duration(part.usual)}</td>
                <td style={{ verticalAlign: 'middle' }}>
                  <div
                    className={css.bar}
                    style={{
                      width: `${(part.seconds / longest) * 100}%`,
                      background: part.state === 'now' ? 'var(--move-line)' : undefined,
                    }}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  )
}
