import { Button } from '@mantine/core'
import { useClipboard } from '@mantine/hooks'
import { IconBolt, IconCheck, IconCopy, IconLicense, IconMail, IconUsers } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { lazy, Suspense } from 'react'
import type { Citation, DatalabDetail } from '#/api/model'
import { datalabQuery } from '#/api/queries'
import { bytes, count } from '#/format/amounts'
import { about, day } from '#/format/time'
import { DatalabIcon, KIND_GLYPHS, KIND_WORDS } from '#/labs/DatalabIcon'
import { LaunchPanel } from '#/labs/LaunchPanel'
import { Copy } from '#/parts/Copy'
import { Page, Pending, Shape, Waiting } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { retrying } from '#/parts/retrying'
import { Spectrum } from '#/parts/Spectrum'
import { Told } from '#/parts/Told'
import type { LaunchSearch } from '#/router'
import { Making } from './Catalogue'
import css from './datalab.module.css'
import { capital } from './facets'

const Markdown = lazy(retrying(() => import('#/parts/Markdown')))

interface Props {
  slug: string
  search: LaunchSearch
  /** Reached by a launch link: the panel comes first. */
  invited?: boolean
}

/** Is it what I need, will it run, how do I cite it? */
export function DatalabPage({ slug, search, invited = false }: Props) {
  const { data, error, refetch } = useQuery(datalabQuery(slug))
  if (error) {
    return (
      <Page title="Datalab">
        <Told error={error} again={() => void refetch()}>
          <Link to="/catalogue" search={{ q: slug.replaceAll('-', ' ') }}>
            Look for it in the catalogue
          </Link>
        </Told>
      </Page>
    )
  }
  if (!data) {
    return (
      <Page title="Datalab" bare>
        <Waiting what="the datalab">
          <div className={css.columns}>
            <div style={{ display: 'grid', gap: '1rem' }}>
              <Shape height="4rem" />
              <Shape height="1.5rem" width="70%" />
              <Shape height="16rem" />
            </div>
            <Shape height="28rem" />
          </div>
        </Waiting>
      </Page>
    )
  }
  const panel = (
    <aside className={css.side} aria-label="Launch">
      <LaunchPanel key={`${data.slug}${JSON.stringify(search)}`} datalab={data} search={search} />
    </aside>
  )
  return (
    <Page title={invited ? `Launch ${data.title}` : data.title} bare>
      <div className={css.banner}>
        <Spectrum name={data.slug} tall />
      </div>
      <div className={css.columns}>
        <Head datalab={data} />
        {panel}
        <div className={css.text}>
          {data.readiness && data.readiness.state !== 'ready' && <Making datalab={data} />}
          {data.description && (
            <section aria-label="Description">
              <h2 className="sr">Description</h2>
              <Suspense fallback={<Pending height="12rem" />}>
                <Markdown text={data.description} />
              </Suspense>
            </section>
          )}
          <Inside datalab={data} />
          {data.citation && <Cite citation={data.citation} />}
          <Versions datalab={data} />
          <About datalab={data} />
        </div>
      </div>
    </Page>
  )
}

function Head({ datalab }: { datalab: DatalabDetail }) {
  const Kind = KIND_GLYPHS[datalab.kind]
  return (
    <header className={css.head}>
      <DatalabIcon url={datalab.icon_url} kind={datalab.kind} size={64} />
      <div>
        <h1>{datalab.title}</h1>
        <div className={css.facts}>
          <span>{[capital(datalab.domain), datalab.mission].filter(Boolean).join(' · ')}</span>
          <span>
            <Kind size={16} aria-hidden /> {KIND_WORDS[datalab.kind]}
          </span>
          {datalab.expected_seconds != null && (
            <span>
              <IconBolt size={16} aria-hidden /> starts in {about(datalab.expected_seconds)}
            </span>
          )}
          {datalab.people > 0 && (
            <span>
              <IconUsers size={16} aria-hidden /> {count(datalab.people, 'person uses it', 'people use it')}
            </span>
          )}
        </div>
      </div>
      <p className={css.lead}>{datalab.abstract}</p>
    </header>
  )
}

function Inside({ datalab }: { datalab: DatalabDetail }) {
  const version = datalab.versions.find((one) => one.name === datalab.latest_version) ?? datalab.versions[0]
  const packages = version?.packages ?? []
  const collections = datalab.collections ?? []
  if (packages.length === 0 && collections.length === 0) return null
  return (
    <section aria-label="What is inside">
      <h2>What is inside</h2>
      {collections.length > 0 && (
        <ul className={css.data}>
          {collections.map((collection) => (
            <li key={collection.id}>
              <Copy text={collection.path} what="path" />
              <Link to="/data/$collectionId" params={{ collectionId: collection.id }}>
                {collection.title}
              </Link>
              <small>
                {collection.available ? bytes(collection.bytes) : collection.message || 'not installed here'}
              </small>
            </li>
          ))}
        </ul>
      )}
      {packages.length > 0 && (
        <ul className={css.packages} aria-label="Packages">
          {packages.map((name) => (
            <li key={name}>{name}</li>
          ))}
        </ul>
      )}
    </section>
  )
}

export function Cite({ citation }: { citation: Citation }) {
  const clipboard = useClipboard({ timeout: 1600 })
  return (
    <section aria-label="How to cite">
      <h2>How to cite</h2>
      <div className={css.cite}>
        <p>{citation.text}</p>
        <div className={css.facts}>
          <Button
            size="compact-sm"
            variant="default"
            leftSection={
              clipboard.copied ? <IconCheck size={15} aria-hidden /> : <IconCopy size={15} aria-hidden />
            }
            onClick={() => clipboard.copy(citation.text)}
          >
            {clipboard.copied ? 'Copied' : 'Copy the citation'}
          </Button>
          {citation.doi && (
            <a href={`https://doi.org/${citation.doi}`} target="_blank" rel="noreferrer">
              doi:{citation.doi}
            </a>
          )}
        </div>
      </div>
    </section>
  )
}

function Versions({ datalab }: { datalab: DatalabDetail }) {
  return (
    <section aria-label="Versions">
      <h2>Versions</h2>
      <div style={{ overflowX: 'auto' }}>
        <table className={partsCss.table}>
          <thead>
            <tr>
              <th scope="col">Version</th>
              <th scope="col">Published</th>
              <th scope="col">What is new</th>
            </tr>
          </thead>
          <tbody>
            {datalab.versions.map((version) => (
              <tr key={version.name}>
                <td>{version.name}</td>
                <td style={{ whiteSpace: 'nowrap' }}>{day(version.published_at)}</td>
                <td>{version.notes}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

function About({ datalab }: { datalab: DatalabDetail }) {
  const contact = datalab.contact
  return (
    <section aria-label="Licence and contact">
      <h2>Licence and contact</h2>
      <div className={css.facts}>
        {datalab.licence && (
          <span>
            <IconLicense size={16} aria-hidden /> {datalab.licence}
          </span>
        )}
        {datalab.creator && <span>by {datalab.creator}</span>}
        {contact?.email && (
          <span>
            <IconMail size={16} aria-hidden />
            <a href={`mailto:${contact.email}`}>{contact.name || contact.email}</a>
            {contact.organisation && `, ${contact.organisation}`}
          </span>
        )}
        {datalab.funder && <span>funded by {datalab.funder}</span>}
      </div>
    </section>
  )
}
