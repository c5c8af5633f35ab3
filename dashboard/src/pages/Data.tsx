import { Button, TextInput } from '@mantine/core'
import { IconSearch } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import type { Collection, Volume } from '#/api/model'
import { collectionsQuery, volumesQuery } from '#/api/queries'
import { bytes, bytesOf } from '#/format/amounts'
import { Ago } from '#/parts/Ago'
import { Copy } from '#/parts/Copy'
import { Meter } from '#/parts/Meter'
import { Empty, Page, Panel, Pending, Shape, Waiting } from '#/parts/Page'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import { matches } from '#/shell/find'
import css from './data.module.css'
import { capital } from './facets'

const route = getRouteApi('/signed-in/data')

/** What can I read, where are my files? */
export function Data() {
  const { q = '' } = route.useSearch()
  const navigate = route.useNavigate()
  const collections = useQuery(collectionsQuery)
  const all = collections.data ?? []
  const shown = all.filter((one) =>
    matches(q, `${one.title} ${one.abstract} ${one.id} ${one.domain} ${one.mission}`),
  )
  return (
    <Page title="Data" lead="Your files, and the archives that every lab can read." wide>
      <MySpace />
      <section
        aria-label="Collections"
        style={{ display: 'grid', gap: '0.875rem', gridTemplateColumns: 'minmax(0, 1fr)' }}
      >
        <div
          style={{
            display: 'flex',
            flexWrap: 'wrap',
            gap: '0.75rem 1.5rem',
            justifyContent: 'space-between',
            alignItems: 'center',
          }}
        >
          <h2>Collections</h2>
          {all.length > 4 && (
            <TextInput
              className={css.find}
              type="search"
              aria-label="Find a collection"
              placeholder="Find a collection"
              leftSection={<IconSearch size={17} aria-hidden />}
              value={q}
              onChange={(event) =>
                void navigate({
                  search: { q: event.currentTarget.value || undefined },
                  replace: true,
                  resetScroll: false,
                })
              }
            />
          )}
        </div>
        {collections.error && <Told error={collections.error} again={() => void collections.refetch()} />}
        {!collections.data && !collections.error && (
          <Waiting what="the collections">
            <div className={css.cards}>
              <Shape height="11rem" />
              <Shape height="11rem" />
            </div>
          </Waiting>
        )}
        {collections.data && all.length === 0 && (
          <Empty title="No collections are installed">
            An operator adds them by a file; they appear here by themselves.
          </Empty>
        )}
        {all.length > 0 && shown.length === 0 && <p role="status">No collection has these words.</p>}
        <ul className={css.cards}>
          {shown.map((collection) => (
            <li key={collection.id}>
              <CollectionCard collection={collection} />
            </li>
          ))}
        </ul>
      </section>
    </Page>
  )
}

const KIND_TITLES: Record<Volume['kind'], string> = { home: 'Home', team: 'Team', scratch: 'Scratch' }

function MySpace() {
  const { data, error, refetch } = useQuery(volumesQuery)
  return (
    <Panel title="My space">
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="3rem" />}
      {data?.length === 0 && (
        <p style={{ color: 'var(--ink-2)' }}>
          Your home is made at your first launch. Whatever you save under <code>/media/home</code> stays when
          a lab ends.
        </p>
      )}
      <div className={css.space}>
        {data?.map((volume) => (
          <div key={volume.id}>
            {volume.used_bytes != null && volume.quota_bytes != null ? (
              <Meter
                label={`${KIND_TITLES[volume.kind]}${volume.kind === 'home' ? '' : ` of ${volume.name}`}`}
                used={volume.used_bytes}
                max={volume.quota_bytes}
                text={bytesOf(volume.used_bytes, volume.quota_bytes)}
              />
            ) : (
              <span>
                {KIND_TITLES[volume.kind]}
                {volume.used_bytes != null && `: ${bytes(volume.used_bytes)} used`}
              </span>
            )}
            <small>
              <code>/media/{volume.kind === 'team' ? `team/${volume.name}` : volume.kind}</code>
              {volume.kind === 'home' && ' in every lab of yours; it stays'}
              {volume.used_bytes != null &&
                volume.quota_bytes != null &&
                volume.used_bytes > volume.quota_bytes &&
                '. It holds more than it should: please delete what you no longer need. Your labs still start'}
              {volume.kind === 'scratch' && (
                <>
                  {' in '}
                  <Link to="/labs/$labId" params={{ labId: volume.name }}>
                    {volume.name}
                  </Link>
                  ; deleted with it
                </>
              )}
              {volume.measured_at && (
                <>
                  {' · measured '}
                  <Ago at={volume.measured_at} />
                </>
              )}
            </small>
          </div>
        ))}
      </div>
    </Panel>
  )
}

function CollectionCard({ collection }: { collection: Collection }) {
  return (
    <article className={css.card}>
      <div>
        <h3>
          <Link to="/data/$collectionId" params={{ collectionId: collection.id }}>
            {collection.title}
          </Link>
        </h3>
        <div className={css.facts}>
          <span>{[capital(collection.domain ?? ''), collection.mission].filter(Boolean).join(' · ')}</span>
        </div>
      </div>
      <p>{collection.abstract}</p>
      {!collection.available && (
        <ToneBadge tone="warn">{collection.message || 'Not installed here'}</ToneBadge>
      )}
      <div className={css.facts}>
        <Copy text={collection.path} what="path" />
        <span>{bytes(collection.bytes)}</span>
        <span>{collection.licence}</span>
        <Button
          component={Link}
          to={`/data/${collection.id}`}
          variant="subtle"
          size="compact-sm"
          style={{ marginInlineStart: 'auto' }}
        >
          Browse
        </Button>
      </div>
    </article>
  )
}
