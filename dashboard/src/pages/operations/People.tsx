import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { peopleQuery, personQuery } from '#/api/queries'
import { count } from '#/format/amounts'
import { Ago } from '#/parts/Ago'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import { LimitsForm } from './LimitsForm'
import css from './operations.module.css'
import { PolicyForm } from './PolicyForm'

const route = getRouteApi('/signed-in/operations/people')

/** Who there is, what each may have at once, and the rules of their labs. */
export function People() {
  const { person } = route.useSearch()
  const { data, error, refetch } = useQuery(peopleQuery)
  return (
    <>
      {person && <PersonPanel username={person} />}
      <Panel title={data ? count(data.length, 'person', 'people') : 'People'}>
        {error && <Told error={error} again={() => void refetch()} />}
        {!data && !error && <Pending height="12rem" />}
        {data && data.length > 0 && (
          <div className={partsCss.scroller}>
            <table className={partsCss.table}>
              <thead>
                <tr>
                  <th scope="col">User name</th>
                  <th scope="col">Name</th>
                  <th scope="col">Roles</th>
                  <th scope="col">Since</th>
                  <th scope="col">
                    <span className="sr">Links</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {data.map((one) => (
                  <tr key={one.username} aria-current={one.username === person || undefined}>
                    <td>
                      <Link to="/operations/people" search={{ person: one.username }} resetScroll>
                        {one.username}
                      </Link>{' '}
                      {!one.active && <ToneBadge tone="rest">closed</ToneBadge>}
                    </td>
                    <td style={{ minWidth: '8rem', overflowWrap: 'anywhere' }}>{one.display_name}</td>
                    <td>{one.roles.join(', ')}</td>
                    <td style={{ whiteSpace: 'nowrap' }}>
                      <Ago at={one.created_at} />
                    </td>
                    <td style={{ whiteSpace: 'nowrap' }}>
                      <Link to="/operations/events" search={{ owner: one.username }}>
                        Events
                      </Link>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </>
  )
}

function PersonPanel({ username }: { username: string }) {
  const { data, error, refetch } = useQuery(personQuery(username))
  return (
    <Panel
      title={username}
      actions={
        <Link to="/operations/people" search={{}}>
          Close
        </Link>
      }
    >
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="14rem" />}
      {data && (
        <div className={css.forms}>
          <LimitsForm key={`limits ${JSON.stringify(data.limits.own)}`} known={data.limits} />
          <PolicyForm key={`policy ${data.policy.changed_at}`} known={data.policy} />
        </div>
      )}
    </Panel>
  )
}
