import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo, useRef, useState } from 'react'
import { labsQuery } from '#/api/queries'
import { count } from '#/format/amounts'
import { useHiddenLabs } from '#/labs/hidden'
import { LabCard, PastLab } from '#/labs/LabCard'
import css from '#/labs/labs.module.css'
import { held, split } from '#/labs/order'
import { coming } from '#/labs/states'
import { useIcons } from '#/labs/useIcons'
import { useSlowNow } from '#/parts/now'
import { Empty, Page, Shape, Waiting } from '#/parts/Page'
import { Told } from '#/parts/Told'

const FIRST_PAST = 20

/** What is running, what needs me? */
export function Labs() {
  const { data, error, refetch } = useQuery(labsQuery)
  const now = useSlowNow()
  const hidden = useHiddenLabs()
  const icons = useIcons()
  const [inside, setInside] = useState(false)
  const [all, setAll] = useState(false)
  const order = useRef<string[]>([])
  const labs = useMemo(() => data?.filter((lab) => !hidden.has(lab.id)) ?? [], [data, hidden])
  const { current, past } = useMemo(() => split(labs, now), [labs, now])

  // While the pointer or the focus is among the cards they stay where they are.
  const wanted = current.map((lab) => lab.id)
  order.current = inside ? held(order.current, wanted) : wanted
  const byId = new Map(current.map((lab) => [lab.id, lab]))
  const shown = order.current.flatMap((id) => byId.get(id) ?? [])
  const starting = current.filter(coming).length

  return (
    <Page
      title="My Datalabs"
      lead={
        data && current.length > 0
          ? [
              [current.filter((lab) => lab.state === 'ready').length, 'ready'],
              [starting, 'on the way'],
              [current.filter((lab) => lab.state === 'failed').length, 'failed'],
            ]
              .flatMap(([number, word]) => (number ? `${number} ${word}` : []))
              .join(', ')
          : undefined
      }
      actions={
        <Button component={Link} to="/catalogue" variant="default">
          Launch another
        </Button>
      }
      wide
    >
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && (
        <Waiting what="your labs">
          <div className={css.grid}>
            <Shape height="14rem" />
            <Shape height="14rem" />
          </div>
        </Waiting>
      )}
      {data && shown.length === 0 && (
        <Empty
          title={past.length > 0 ? 'Nothing is running' : 'You have no labs yet'}
          action={
            <Button component={Link} to="/catalogue">
              Choose a datalab
            </Button>
          }
        >
          {past.length > 0
            ? 'Your ended labs are below; restart one to go on where you were, or launch another.'
            : 'A lab is a datalab that you launched: a notebook, an application or a desktop next to the data. Choose one in the catalogue; it starts in seconds.'}
        </Empty>
      )}
      {shown.length > 0 && (
        <section
          aria-label="Labs now"
          className={css.grid}
          onPointerEnter={() => setInside(true)}
          onPointerLeave={() => setInside(false)}
          onFocus={() => setInside(true)}
          onBlur={(event) => {
            if (!event.currentTarget.contains(event.relatedTarget)) setInside(false)
          }}
        >
          <h2 className="sr">Now</h2>
          {shown.map((lab) => (
            <LabCard key={lab.id} lab={lab} icon={icons.get(lab.datalab)} />
          ))}
        </section>
      )}
      {past.length > 0 && (
        <details className={css.past} open={shown.length === 0}>
          <summary>{count(past.length, 'ended lab')}</summary>
          {past.slice(0, all ? undefined : FIRST_PAST).map((lab) => (
            <PastLab key={lab.id} lab={lab} />
          ))}
          {!all && past.length > FIRST_PAST && (
            <div className={css.pastRow}>
              <Button variant="subtle" size="compact-sm" onClick={() => setAll(true)}>
                Show all {past.length}
              </Button>
            </div>
          )}
        </details>
      )}
    </Page>
  )
}
