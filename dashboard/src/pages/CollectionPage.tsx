import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { lazy, Suspense } from 'react'
import { collectionQuery } from '#/api/queries'
import { bytes, count } from '#/format/amounts'
import { Copy } from '#/parts/Copy'
import { Page, Panel, Pending, Shape, Waiting } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { retrying } from '#/parts/retrying'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import { Cite } from './DatalabPage'
import { capital } from './facets'
import css from './lab/lab.module.css'

const Markdown = lazy(retrying(() => import('#/parts/Markdown')))
const route = getRouteApi('/signed-in/data/$collectionId')

export function CollectionPage() {
  const { collectionId } = route.useParams()
  const { data, error, refetch } = useQuery(collectionQuery(collectionId))
  if (error) {
    return (
      <Page title="Collection">
        <Told error={error} again={() => void refetch()}>
          <Link to="/data">To all collections</Link>
        </Told>
      </Page>
    )
  }
  if (!data) {
    return (
      <Page title="Collection" bare>
        <Waiting what="the collection">
          <Shape height="20rem" />
        </Waiting>
      </Page>
    )
  }
  const files = data.files ?? []
  return (
    <Page title={data.title} lead={data.abstract}>
      <div className={css.columns}>
        <div className={css.column}>
          {!data.available && <ToneBadge tone="warn">{data.message || 'Not installed here'}</ToneBadge>}
          {data.description && (
            <Suspense fallback={<Pending height="8rem" />}>
              <Markdown text={data.description} />
            </Suspense>
          )}
          <Cite citation={data.citation} />
          <Panel title={count(files.length, 'file')}>
            <div className={partsCss.scroller}>
              <table className={partsCss.table}>
                <thead>
                  <tr>
                    <th scope="col">Path</th>
                    <th scope="col" data-number>
                      Size
                    </th>
                    <th scope="col">SHA-256</th>
                  </tr>
                </thead>
                <tbody>
                  {files.map((file) => (
                    <tr key={file.path}>
                      <td>
                        <Copy text={`${data.path}/${file.path}`} what="path" shown={file.path} />
                      </td>
                      <td data-number>{bytes(file.bytes)}</td>
                      <td>
                        <Copy text={file.sha256} what="checksum" shown={`${file.sha256.slice(0, 12)}…`} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </Panel>
        </div>
        <Panel title="At a glance">
          <dl className={partsCss.facts}>
            <dt>Path</dt>
            <dd>
              <Copy text={data.path} what="path" />
            </dd>
            <dt>Size</dt>
            <dd>{bytes(data.bytes)}</dd>
            <dt>Domain</dt>
            <dd>{[capital(data.domain ?? ''), data.mission].filter(Boolean).join(' · ') || '–'}</dd>
            <dt>Licence</dt>
            <dd>{data.licence}</dd>
            <dt>Source</dt>
            <dd>
              {/^https?:\/\//.test(data.source) ? (
                <a href={data.source} target="_blank" rel="noreferrer">
                  {data.source}
                </a>
              ) : (
                data.source
              )}
            </dd>
          </dl>
        </Panel>
      </div>
    </Page>
  )
}
