import { Button, CloseButton, TextInput } from '@mantine/core'
import { useDisclosure, useHotkeys } from '@mantine/hooks'
import { IconAdjustments, IconBolt, IconSearch, IconUsers } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { useEffect, useRef, useState } from 'react'
import type { Datalab, DatalabPage, Lab } from '#/api/model'
import { type CatalogueSearch, datalabsQuery, labsQuery } from '#/api/queries'
import { count } from '#/format/amounts'
import { about } from '#/format/time'
import { DatalabIcon, KIND_GLYPHS, KIND_WORDS } from '#/labs/DatalabIcon'
import { useHiddenLabs } from '#/labs/hidden'
import { OpenButton, RestartButton } from '#/labs/LabButtons'
import { byAttention } from '#/labs/order'
import { canOpen, ended } from '#/labs/states'
import { useIcons } from '#/labs/useIcons'
import { Ago } from '#/parts/Ago'
import { Sheet } from '#/parts/Dialogs'
import { useSlowNow } from '#/parts/now'
import { Empty, Page, Shape, Waiting } from '#/parts/Page'
import { Spectrum } from '#/parts/Spectrum'
import { StateBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import css from './catalogue.module.css'
import { capital, chosen, FACETS, type FacetName, toggled, withChosen } from './facets'

const route = getRouteApi('/signed-in/catalogue')
const SEARCH_AFTER_MS = 110
const CONTINUED = 4

/** What is there for my question? */
export function Catalogue() {
  const search = route.useSearch()
  const { data, error, refetch, isPlaceholderData } = useQuery(datalabsQuery(search))
  const [drawer, { open, close }] = useDisclosure(false)
  const narrowed = FACETS.reduce((sum, { name }) => sum + chosen(search, name).length, 0)
  return (
    <Page title="Catalogue" bare wide>
      <div className={css.top}>
        <div className={css.hero}>
          <div>
            <h1>Catalogue</h1>
            <p style={{ color: 'var(--ink-2)' }}>Datalabs to launch next to the data.</p>
          </div>
          <SearchField search={search} />
        </div>
        <Continue />
      </div>
      <div className={css.columns}>
        <aside className={css.facets} aria-label="Narrow down">
          <Facets page={data} search={search} />
        </aside>
        <section aria-label="Datalabs" aria-busy={isPlaceholderData}>
          <h2 className="sr">Datalabs</h2>
          <div className={css.found}>
            <span role="status">{data ? found(data, search) : ''}</span>
            <Button
              className={css.narrowFacets}
              size="compact-sm"
              variant="default"
              leftSection={<IconAdjustments size={16} aria-hidden />}
              onClick={open}
            >
              Narrow down{narrowed > 0 ? ` (${narrowed})` : ''}
            </Button>
            <Chosen search={search} />
          </div>
          {error && <Told error={error} again={() => void refetch()} />}
          {!data && !error && (
            <Waiting what="the catalogue">
              <div className={css.cards}>
                {[0, 1, 2, 3, 4, 5].map((key) => (
                  <Shape key={key} height="13.5rem" />
                ))}
              </div>
            </Waiting>
          )}
          {data && data.items.length === 0 && <NothingFound page={data} search={search} />}
          {data && data.items.length > 0 && (
            <ul className={css.cards}>
              {data.items.map((datalab) => (
                <li key={datalab.slug}>
                  <Card datalab={datalab} />
                </li>
              ))}
            </ul>
          )}
        </section>
      </div>
      <Sheet opened={drawer} close={close} title="Narrow down">
        <div style={{ display: 'grid', gap: '1.25rem' }}>
          <Facets page={data} search={search} />
        </div>
      </Sheet>
    </Page>
  )
}

function found(page: DatalabPage, search: CatalogueSearch): string {
  const all = Object.values(search).every((value) => value === undefined)
  return all ? count(page.total, 'datalab') : `${count(page.total, 'datalab')} found`
}

function SearchField({ search }: { search: CatalogueSearch }) {
  const navigate = useNavigate()
  const [text, setText] = useState(search.q ?? '')
  const input = useRef<HTMLInputElement>(null)
  const sent = useRef(search.q ?? '')
  useHotkeys([['/', () => input.current?.focus()]])

  // The address changed by other means (back, a link): the field follows.
  useEffect(() => {
    if ((search.q ?? '') !== sent.current) {
      sent.current = search.q ?? ''
      setText(sent.current)
    }
  }, [search.q])

  useEffect(() => {
    if (text === sent.current) return
    const timer = setTimeout(() => {
      sent.current = text
      void navigate({
        to: '/catalogue',
        search: (before) => ({ ...before, q: text.trim() || undefined }),
        replace: true,
        resetScroll: false,
      })
    }, SEARCH_AFTER_MS)
    return () => clearTimeout(timer)
  }, [navigate, text])

  return (
    <TextInput
      ref={input}
      className={css.search}
      size="lg"
      type="search"
      aria-label="Search the catalogue"
      placeholder="Search: a mission, a method, a package"
      leftSection={<IconSearch size={19} aria-hidden />}
      rightSection={
        text ? <CloseButton aria-label="Clear the search" onClick={() => setText('')} /> : undefined
      }
      value={text}
      onChange={(event) => setText(event.currentTarget.value)}
    />
  )
}

function Facets({ page, search }: { page: DatalabPage | undefined; search: CatalogueSearch }) {
  const navigate = useNavigate()
  return FACETS.map(({ name, title }) => {
    const values = withChosen(page?.facets[name] ?? [], chosen(search, name))
    if (values.length === 0) return null
    return (
      <fieldset key={name} className={css.facet}>
        <legend>{title}</legend>
        {values.map(({ value, count: number }) => (
          <label key={value} className={css.choice}>
            <input
              type="checkbox"
              checked={chosen(search, name).includes(value)}
              onChange={() =>
                void navigate({
                  to: '/catalogue',
                  search: (before) => toggled(before, name, value),
                  replace: true,
                  resetScroll: false,
                })
              }
            />
            <span>{facetWord(name, value)}</span>
            <span>{number}</span>
          </label>
        ))}
      </fieldset>
    )
  })
}

function facetWord(name: FacetName, value: string): string {
  return name === 'kind' ? (KIND_WORDS[value as Datalab['kind']] ?? value) : capital(value)
}

function Chosen({ search }: { search: CatalogueSearch }) {
  const any = FACETS.some(({ name }) => chosen(search, name).length > 0)
  if (!any) return null
  return (
    <Button
      size="compact-sm"
      variant="subtle"
      component={Link}
      to="/catalogue"
      search={{ q: search.q } as never}
      replace
    >
      Show all
    </Button>
  )
}

function NothingFound({ page, search }: { page: DatalabPage; search: CatalogueSearch }) {
  const searched = Object.values(search).some((value) => value !== undefined)
  if (!searched) {
    return (
      <Empty title="The catalogue is empty">
        An operator adds datalabs by a folder with a <code>datalab-meta.yml</code>; they appear here by
        themselves.
      </Empty>
    )
  }
  return (
    <Empty
      title="Nothing matches"
      action={
        <Button component={Link} to="/catalogue" variant="default" replace>
          Show the whole catalogue
        </Button>
      }
    >
      {page.did_you_mean ? (
        <>
          Did you mean{' '}
          <Link to="/catalogue" search={{ q: page.did_you_mean }} replace>
            {page.did_you_mean}
          </Link>
          ?
        </>
      ) : (
        'Try fewer words, or take a choice away on the left.'
      )}
    </Empty>
  )
}

function Card({ datalab }: { datalab: Datalab }) {
  const Kind = KIND_GLYPHS[datalab.kind]
  const from = [capital(datalab.domain), datalab.mission].filter(Boolean).join(' · ')
  return (
    <article className={css.card}>
      <Spectrum name={datalab.slug} />
      <div className={css.inside}>
        <div className={css.title}>
          <DatalabIcon url={datalab.icon_url} kind={datalab.kind} />
          <div>
            <h3>
              <Link to="/datalabs/$slug" params={{ slug: datalab.slug }} title={datalab.title}>
                {datalab.title}
              </Link>
            </h3>
            <p>{from}</p>
          </div>
        </div>
        <p className={css.abstract}>{datalab.abstract}</p>
        <Making datalab={datalab} />
        <div className={css.facts}>
          <span>
            <Kind size={15} aria-hidden />
            {KIND_WORDS[datalab.kind]}
          </span>
          {datalab.expected_seconds != null && ready(datalab) && (
            <span data-quick={datalab.expected_seconds < 5 || undefined}>
              <IconBolt size={15} aria-hidden />
              starts in {about(datalab.expected_seconds)}
            </span>
          )}
          {datalab.people > 0 && (
            <span title={`${count(datalab.people, 'person has', 'people have')} launched it`}>
              <IconUsers size={15} aria-hidden />
              {datalab.people}
              <span className="sr"> {datalab.people === 1 ? 'person has' : 'people have'} launched it</span>
            </span>
          )}
        </div>
      </div>
    </article>
  )
}

function ready(datalab: Datalab): boolean {
  return !datalab.readiness || datalab.readiness.state === 'ready'
}

/** How far its software is, while it is not yet ready to start at once. */
export function Making({ datalab }: { datalab: Datalab }) {
  const readiness = datalab.readiness
  if (!readiness || readiness.state === 'ready') return null
  if (readiness.state === 'failed' || readiness.state === 'unavailable') {
    return (
      <p style={{ fontSize: '0.8125rem', color: 'var(--warn-ink)' }}>
        {readiness.text || 'Its software could not be made ready on this site.'}
      </p>
    )
  }
  const percent = Math.round((readiness.fraction ?? 0) * 100)
  return (
    <div className={css.making}>
      <span>
        {readiness.state === 'waiting'
          ? 'Its software is made ready soon'
          : readiness.text || `Being made ready, ${percent} %`}
      </span>
      <progress value={percent} max={100} aria-label={`Making ${datalab.title} ready`} />
    </div>
  )
}

/** The way back to one's last labs. */
function Continue() {
  const { data } = useQuery(labsQuery)
  const now = useSlowNow()
  const hidden = useHiddenLabs()
  const icons = useIcons()
  const labs = (data ?? []).filter((lab) => !hidden.has(lab.id))
  const live = byAttention(
    labs.filter((lab) => !ended(lab)),
    now,
  )
  const past = labs.filter((lab) => ended(lab) && lab.kind !== 'batch')
  const shown = [...live, ...past].slice(0, CONTINUED)
  if (shown.length === 0) return null
  return (
    <section className={css.continue} aria-label="Continue">
      <h2>Continue</h2>
      <ul>
        {shown.map((lab) => (
          <li key={lab.id}>
            <Again lab={lab} icon={icons.get(lab.datalab)} />
          </li>
        ))}
      </ul>
    </section>
  )
}

function Again({ lab, icon }: { lab: Lab; icon?: string | undefined }) {
  return (
    <div className={css.again}>
      <DatalabIcon url={icon} kind={lab.kind} size={34} />
      <div>
        <Link to="/labs/$labId" params={{ labId: lab.id }} title={lab.name}>
          {lab.name}
        </Link>
        {ended(lab) ? (
          <small>
            ended <Ago at={lab.ended_at ?? lab.created_at} />
          </small>
        ) : (
          <StateBadge state={lab.state} />
        )}
      </div>
      {canOpen(lab) && <OpenButton lab={lab} size="compact-sm" />}
      {ended(lab) && <RestartButton lab={lab} size="compact-sm" />}
    </div>
  )
}
