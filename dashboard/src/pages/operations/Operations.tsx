import { Link, Outlet } from '@tanstack/react-router'
import { ProblemError } from '#/api/problems'
import { Page } from '#/parts/Page'
import { Told } from '#/parts/Told'
import { useOperator } from '#/shell/me'
import css from './operations.module.css'

/** Is it healthy, what is wrong, who is affected? */
export function Operations() {
  const operator = useOperator()
  if (!operator) {
    return (
      <Page title="Operations">
        <Told error={new ProblemError({ code: 'forbidden', title: 'Only operators may look here' })}>
          <Link to="/catalogue">To the catalogue</Link>
        </Told>
      </Page>
    )
  }
  return (
    <Page title="Operations" wide>
      <nav className={css.tabs} aria-label="Operations">
        <Link to="/operations" activeOptions={{ exact: true }}>
          Now
        </Link>
        <Link to="/operations/nodes" activeOptions={{ includeSearch: false }}>
          Nodes
        </Link>
        <Link to="/operations/queue">Queue</Link>
        <Link to="/operations/preparation">Preparation</Link>
        <Link to="/operations/people" activeOptions={{ includeSearch: false }}>
          People
        </Link>
        <Link to="/operations/events" activeOptions={{ includeSearch: false }}>
          Events
        </Link>
        <Link to="/operations/traces" activeOptions={{ includeSearch: false }}>
          Traces
        </Link>
        <Link to="/operations/dead-letters">Dead letters</Link>
      </nav>
      <Outlet />
    </Page>
  )
}
