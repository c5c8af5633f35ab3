import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import type { Lab } from '#/api/model'
import { DatalabIcon } from '#/labs/DatalabIcon'
import { ExtendButton, OpenButton, RestartButtons, StopButton, TimeLeft } from '#/labs/LabButtons'
import { canOpen, coming, ended, running, sentence } from '#/labs/states'
import { useIcons } from '#/labs/useIcons'
import { StateBadge } from '#/parts/StateBadge'
import { useMe } from '#/shell/me'
import css from './lab.module.css'

/** Whose lab it is, how it is, and what can be done with it. */
export function Head({ lab }: { lab: Lab }) {
  const icons = useIcons()
  const me = useMe()
  const text = sentence(lab)
  return (
    <header className={css.head}>
      <div className={css.who}>
        <DatalabIcon url={icons.get(lab.datalab)} kind={lab.kind} size={56} />
        <div style={{ minWidth: 0 }}>
          <h1>{lab.name}</h1>
          <p>
            <StateBadge state={lab.state} />
            <Link to="/datalabs/$slug" params={{ slug: lab.datalab }}>
              {lab.datalab_title || lab.datalab} {lab.version}
            </Link>
            {lab.owner !== me.username && <span>of {lab.owner}</span>}
            {text && lab.state !== 'failed' && <span>{text}</span>}
          </p>
        </div>
      </div>
      <div className={css.acts}>
        {running(lab) && (
          <>
            <TimeLeft lab={lab} />
            {lab.expires_at && <ExtendButton lab={lab} size="sm" />}
          </>
        )}
        {coming(lab) && (
          <Button component={Link} to={`/labs/${lab.id}/launching`} variant="default">
            Watch
          </Button>
        )}
        {!ended(lab) && <StopButton lab={lab} />}
        {ended(lab) && <RestartButtons lab={lab} strong />}
        {canOpen(lab) && lab.owner === me.username && <OpenButton lab={lab} />}
      </div>
    </header>
  )
}
