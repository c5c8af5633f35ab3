import { IconAlertTriangle } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { labQuery } from '#/api/queries'
import { FilesKept, Kept } from '#/labs/Keeping'
import { advice, REASONS, running } from '#/labs/states'
import { Waits } from '#/labs/Waits'
import { Page, Shape, Waiting } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { Told } from '#/parts/Told'
import { Facts } from './lab/Facts'
import { Happened } from './lab/Happened'
import { Head } from './lab/Head'
import { LogPanel } from './lab/LogPanel'
import css from './lab/lab.module.css'
import { MetricsPanel } from './lab/MetricsPanel'
import { TimelinePanel } from './lab/TimelinePanel'

const route = getRouteApi('/signed-in/labs/$labId')

/** Why is it like this? */
export function LabPage() {
  const { labId } = route.useParams()
  const { attempt } = route.useSearch()
  const { data: lab, error, refetch } = useQuery(labQuery(labId))
  if (error) {
    return (
      <Page title="Lab">
        <Told error={error} again={() => void refetch()}>
          <Link to="/labs">To my labs</Link>
        </Told>
      </Page>
    )
  }
  if (!lab) {
    return (
      <Page title="Lab" bare>
        <Waiting what="the lab">
          <div className={css.column}>
            <Shape height="4rem" />
            <Shape height="12rem" />
            <Shape height="16rem" />
          </div>
        </Waiting>
      </Page>
    )
  }
  const shown = Math.min(attempt ?? lab.attempt, lab.attempt)
  return (
    <Page title={lab.name} bare wide>
      <Head lab={lab} />
      {lab.state === 'failed' && (
        <div className={partsCss.told} data-tone="bad">
          <IconAlertTriangle size={20} aria-hidden />
          <div>
            <b>{lab.message || (lab.reason ? REASONS[lab.reason] : 'It failed.')}</b>
            <p>
              Your files are safe. {advice(lab)} <FilesKept lab={lab} />
            </p>
            {(lab.exit_code != null || lab.signal != null) && (
              <div className={partsCss.fine}>
                {lab.exit_code != null && <span>Exit code {lab.exit_code}</span>}
                {lab.signal != null && <span>Signal {lab.signal}</span>}
                {lab.reason && (
                  <span>
                    Code <code>{lab.reason}</code>
                  </span>
                )}
              </div>
            )}
          </div>
        </div>
      )}
      {lab.state === 'queued' && <Waits lab={lab} />}
      {running(lab) && <Kept lab={lab} />}
      <div className={css.columns}>
        <div className={css.column}>
          <TimelinePanel lab={lab} attempt={shown} />
          {(running(lab) || lab.state === 'stopping') && <MetricsPanel lab={lab} />}
          <LogPanel lab={lab} attempt={shown} />
        </div>
        <div className={css.column}>
          <Facts lab={lab} />
          <Happened lab={lab} />
        </div>
      </div>
    </Page>
  )
}
