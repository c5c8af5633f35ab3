import { Button, Checkbox, NativeSelect, Radio, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { IconArrowRight, IconChevronRight, IconRocket } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { type FormEvent, useMemo, useRef, useState } from 'react'
import type { DatalabDetail, Fit, LaunchBody, Limits, Preflight, Size } from '#/api/model'
import { ProblemError } from '#/api/problems'
import { preflightQuery } from '#/api/queries'
import { memory, ordinal, resources, trim } from '#/format/amounts'
import { about } from '#/format/time'
import { Copy } from '#/parts/Copy'
import { Meter } from '#/parts/Meter'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import type { LaunchSearch } from '#/router'
import { useLaunch } from './launch'
import css from './launch.module.css'
import { SchemaFields } from './SchemaFields'
import { type Entered, fieldsOf, parametersOf, problemsOf } from './schema'
import type { Tone } from './states'

interface Props {
  datalab: DatalabDetail
  search: LaunchSearch
}

const FITS: Record<Fit, { word: string; tone: Tone }> = {
  now: { word: 'Fits now', tone: 'good' },
  queue: { word: 'Waits in the queue', tone: 'wait' },
  never: { word: 'Never fits', tone: 'bad' },
  over_limit: { word: 'Over your limit', tone: 'warn' },
}

/** Everything is chosen already: one click is enough. */
export function LaunchPanel({ datalab, search }: Props) {
  const latest = datalab.versions.find((one) => one.name === datalab.latest_version) ?? datalab.versions[0]
  const [versionName, setVersion] = useState(search.version ?? latest?.name ?? '')
  const version = datalab.versions.find((one) => one.name === versionName) ?? latest
  const sizes = datalab.sizes.filter((size) => version?.sizes.includes(size.name))
  const [sizeName, setSize] = useState(search.size ?? '')
  const size = sizes.find((one) => one.name === sizeName)?.name ?? version?.default_size ?? ''
  const [name, setName] = useState(search.name ?? '')
  const [entered, setEntered] = useState<Entered>(search.parameters ?? {})
  const [collections, setCollections] = useState<readonly string[] | null>(null)
  const [scratch, setScratch] = useState(true)
  const fields = useMemo(() => fieldsOf(version?.parameters_schema), [version])
  const problems = problemsOf(fields, entered)
  const valid = Object.keys(problems).length === 0
  const mounted = collections ?? version?.collections ?? []
  const [shown, setShown] = useState(false)
  const form = useRef<HTMLFormElement>(null)

  const body: LaunchBody = {
    datalab: datalab.slug,
    version: version?.name,
    size,
    ...(name.trim() ? { name: name.trim() } : {}),
    parameters: valid ? parametersOf(fields, entered) : {},
    volumes: scratch ? ['home', 'scratch'] : ['home'],
    ...(collections ? { collections: [...collections] } : {}),
  }
  // The name changes nothing of whether it fits.
  const { name: _, ...asked } = body
  const [settled] = useDebouncedValue(JSON.stringify(asked), 150)
  const preflight = useQuery({
    ...preflightQuery(JSON.parse(settled) as LaunchBody),
    enabled: valid && version !== undefined,
  })
  const launch = useLaunch()
  const fit = preflight.data?.fit
  const blocked = fit === 'never' || fit === 'over_limit'
  const refused = useMemo(
    () => refusedFields(launch.error ?? preflight.error),
    [launch.error, preflight.error],
  )

  const submit = (event: FormEvent): void => {
    event.preventDefault()
    if (!valid) {
      setShown(true)
      setEntered((before) => ({
        ...Object.fromEntries(Object.keys(problems).map((key) => [key, ''])),
        ...before,
      }))
      requestAnimationFrame(() => form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus())
      return
    }
    if (!launch.isPending) {
      launch.mutate({ body, timeStamp: event.timeStamp, usual: preflight.data?.expected_phases ?? {} })
    }
  }

  const needed = fields.filter((field) => field.required)
  const others = fields.filter((field) => !field.required)
  return (
    <form
      ref={form}
      className={css.panel}
      onSubmit={submit}
      aria-label={`Launch ${datalab.title}`}
      noValidate
    >
      <Verdict preflight={preflight.data} pending={preflight.isFetching} />
      <fieldset className={css.sizes}>
        <legend>Size</legend>
        {sizes.map((one) => (
          <SizeChoice key={one.name} size={one} chosen={one.name === size} choose={() => setSize(one.name)} />
        ))}
      </fieldset>
      {needed.length > 0 && (
        <div className={css.fields}>
          <SchemaFields fields={needed} entered={entered} change={setEntered} refused={refused} />
        </div>
      )}
      <details
        className={css.more}
        open={shown || others.some((field) => field.name in refused) || undefined}
      >
        <summary>
          <IconChevronRight size={16} aria-hidden /> Name, version, data
          {others.length > 0 ? ' and parameters' : ''}
        </summary>
        <div className={css.fields}>
          <TextInput
            label="Name"
            description="How you find it again among your labs."
            placeholder={datalab.title}
            maxLength={80}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          />
          <NativeSelect
            label="Version"
            value={version?.name}
            onChange={(event) => setVersion(event.currentTarget.value)}
            data={datalab.versions.map((one) => ({
              value: one.name,
              label: one.name === datalab.latest_version ? `${one.name} (latest)` : one.name,
            }))}
          />
          <SchemaFields fields={others} entered={entered} change={setEntered} refused={refused} />
          <DataChoices
            datalab={datalab}
            mounted={mounted}
            choose={setCollections}
            scratch={scratch}
            setScratch={setScratch}
          />
          <DeepLink datalab={datalab.slug} body={body} entered={entered} />
        </div>
      </details>
      {launch.error ? (
        <Told error={launch.error}>
          {launch.error instanceof ProblemError && launch.error.code === 'quota_exceeded' && (
            <Link to="/labs">To my labs</Link>
          )}
        </Told>
      ) : (
        preflight.error && <Told error={preflight.error} again={() => void preflight.refetch()} />
      )}
      <div className={css.go}>
        <Button
          type="submit"
          size="lg"
          fullWidth
          loading={launch.isPending}
          disabled={blocked}
          leftSection={<IconRocket size={20} aria-hidden />}
        >
          {fit === 'queue' ? 'Launch and wait' : 'Launch'}
        </Button>
      </div>
      {preflight.data?.limits && <LimitMeters limits={preflight.data.limits} size={preflight.data.size} />}
      {(preflight.data?.notices ?? []).map((notice) => (
        <p key={notice} className={css.notice}>
          {notice}
        </p>
      ))}
    </form>
  )
}

function refusedFields(error: unknown): Record<string, string> {
  if (!(error instanceof ProblemError)) return {}
  return Object.fromEntries(
    (error.errors ?? []).map(({ pointer, detail }) => [pointer.split('/').at(-1) ?? pointer, detail]),
  )
}

function Verdict({ preflight, pending }: { preflight: Preflight | undefined; pending: boolean }) {
  const fit = preflight?.fit
  return (
    <div className={css.verdict} role="status" aria-busy={pending}>
      {preflight && fit ? (
        <>
          <div className={css.verdictHead}>
            <ToneBadge tone={FITS[fit].tone}>{FITS[fit].word}</ToneBadge>
            {preflight.expected_seconds != null && fit === 'now' && (
              <span>
                starts in <b>{about(preflight.expected_seconds)}</b>
              </span>
            )}
          </div>
          <p>
            {preflight.text}
            {fit === 'queue' && preflight.queue_position != null
              ? ` You would be ${ordinal(preflight.queue_position)} in the queue.`
              : ''}
          </p>
        </>
      ) : (
        <p>{pending ? 'Looking whether it fits now' : ''}</p>
      )}
    </div>
  )
}

function SizeChoice({ size, chosen, choose }: { size: Size; chosen: boolean; choose: () => void }) {
  return (
    <Radio.Card
      className={css.size}
      radius="md"
      checked={chosen}
      onClick={choose}
      value={size.name}
      role="radio"
      aria-checked={chosen}
    >
      <Radio.Indicator checked={chosen} aria-hidden />
      <span>
        <b>{size.title}</b>
        <span>
          {resources(size.cores, size.memory_mib)}
          {size.gpus ? ` · ${size.gpus} × ${size.gpu_name ?? 'GPU'}` : ''}
          {size.node_class ? ` · ${size.node_class}` : ''}
        </span>
      </span>
    </Radio.Card>
  )
}

interface DataProps {
  datalab: DatalabDetail
  mounted: readonly string[]
  choose: (ids: readonly string[]) => void
  scratch: boolean
  setScratch: (on: boolean) => void
}

function DataChoices({ datalab, mounted, choose, scratch, setScratch }: DataProps) {
  return (
    <fieldset className={css.data}>
      <legend>Files it sees</legend>
      <Checkbox
        label={<code>/media/home</code>}
        description="Your home; it stays"
        checked
        disabled
        readOnly
      />
      <Checkbox
        label={<code>/media/scratch</code>}
        description="Room for the moment; deleted with the lab"
        checked={scratch}
        onChange={(event) => setScratch(event.currentTarget.checked)}
      />
      {(datalab.collections ?? []).map((collection) => (
        <Checkbox
          key={collection.id}
          label={<code>{collection.path}</code>}
          description={collection.available ? collection.title : `${collection.title}. ${collection.message}`}
          checked={mounted.includes(collection.id)}
          onChange={(event) =>
            choose(
              event.currentTarget.checked
                ? [...mounted, collection.id]
                : mounted.filter((other) => other !== collection.id),
            )
          }
        />
      ))}
    </fieldset>
  )
}

/** The same choices as an address to share and as a call of the API. */
function DeepLink({ datalab, body, entered }: { datalab: string; body: LaunchBody; entered: Entered }) {
  const search = new URLSearchParams()
  if (body.size) search.set('size', body.size)
  if (body.version) search.set('version', body.version)
  if (body.name) search.set('name', body.name)
  if (Object.keys(entered).length > 0) search.set('parameters', JSON.stringify(entered))
  const link = `${location.origin}/launch/${datalab}?${search}`
  return (
    <div className={css.link}>
      <span>Link to these choices</span>
      <Copy text={link} what="link" shown={`/launch/${datalab}?${search}`} />
      <span>The same by the API</span>
      <Copy
        text={`POST ${location.origin}/api/v1/labs\n${JSON.stringify(body)}`}
        what="call"
        shown="POST /api/v1/labs"
      />
    </div>
  )
}

function LimitMeters({ limits, size }: { limits: Limits; size: Size }) {
  const { used, max_labs, max_cores, max_memory_mib } = limits
  if (max_labs == null && max_cores == null && max_memory_mib == null) {
    return <p className={css.notice}>You have no limits.</p>
  }
  return (
    <div className={css.limits}>
      <h2>
        Your limits{' '}
        <Link to="/usage" aria-label="Your limits and usage">
          <IconArrowRight size={15} aria-hidden />
        </Link>
      </h2>
      {max_labs != null && (
        <Meter label="Labs" used={used.labs} max={max_labs} more={1} text={`${used.labs} of ${max_labs}`} />
      )}
      {max_cores != null && (
        <Meter
          label="Cores"
          used={used.cores}
          max={max_cores}
          more={size.cores}
          text={`${trim(used.cores, 2)} of ${trim(max_cores, 2)}, this ${trim(size.cores, 2)}`}
        />
      )}
      {max_memory_mib != null && (
        <Meter
          label="Memory"
          used={used.memory_mib}
          max={max_memory_mib}
          more={size.memory_mib}
          text={`${memory(used.memory_mib)} of ${memory(max_memory_mib)}, this ${memory(size.memory_mib)}`}
        />
      )}
    </div>
  )
}
