import type { Lab } from '#/api/model'
import { ordinal } from '#/format/amounts'
import { about, exact } from '#/format/time'
import { useNow } from '#/parts/now'
import css from './labs.module.css'
import { waitingSeconds } from './waiting'

/** A waiting lab's place and how long it may be; the reason stands in its sentence. */
export function Waits({ lab }: { lab: Lab }) {
  const now = useNow()
  const seconds = waitingSeconds(lab, now)
  return (
    <dl className={css.waits}>
      {lab.queue_position != null && (
        <div>
          <dt>Place in the queue</dt>
          <dd>{ordinal(lab.queue_position)}</dd>
        </div>
      )}
      <div>
        <dt>Expected to start</dt>
        <dd title={lab.expected_start_at ? exact(lab.expected_start_at) : undefined}>
          {seconds === null ? 'not known yet' : seconds <= 0 ? 'any moment' : `in ${about(seconds)}`}
        </dd>
      </div>
    </dl>
  )
}
