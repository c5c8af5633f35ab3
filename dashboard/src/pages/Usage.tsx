import { Button, NativeSelect, SegmentedControl, Tooltip } from '@mantine/core'
import { IconDownload } from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { useMemo, useState } from 'react'
import type { UsageRow } from '#/api/model'
import { limitsQuery, type UsageGrouping, usageQuery } from '#/api/queries'
import { amountOf, count, memory, trim } from '#/format/amounts'
import { day, duration, exact, millis } from '#/format/time'
import { Ago } from '#/parts/Ago'
import chartCss from '#/parts/charts.module.css'
import { Meter } from '#/parts/Meter'
import { useSlowNow } from '#/parts/now'
import { Empty, Page, Panel, Pending, Shape, Waiting } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { Told } from '#/parts/Told'
import dataCss from './data.module.css'
import { csv, type Day, type Measure, niceTop, ranking, spread } from './usage'
import { defaultRange } from './usageRange'

const route = getRouteApi('/signed-in/usage')
const SERIES = 8
const FIRST_ROWS = 25
const MEASURES: Record<Measure, { title: string; of: string }> = {
  core_seconds: { title: 'Cores', of: 'core' },
  gib_seconds: { title: 'Memory', of: 'GiB' },
  seconds: { title: 'Time', of: 'lab' },
}

/** What did I use, what is left? */
export function Usage() {
  const { days: chosen = 30, by = 'lab' } = route.useSearch()
  const navigate = route.useNavigate()
  const { from, to } = defaultRange(chosen)
  const labs = useQuery(usageQuery(from, to, 'lab'))
  const [measure, setMeasure] = useState<Measure>('core_seconds')
  const now = useSlowNow()
  const days = useMemo(
    () => spread(labs.data?.items ?? [], millis(from), millis(to), measure, now),
    [from, labs.data, measure, now, to],
  )
  return (
    <Page
      title="Usage"
      wide
      actions={
        <NativeSelect
          aria-label="Period"
          value={chosen}
          onChange={(event) => {
            const days = Number(event.currentTarget.value)
            void navigate({
              search: (before) => ({ ...before, days: days === 30 ? undefined : days }),
              replace: true,
              resetScroll: false,
            })
          }}
          data={[
            { value: '7', label: 'The last 7 days' },
            { value: '30', label: 'The last 30 days' },
            { value: '90', label: 'The last 90 days' },
            { value: '365', label: 'The last year' },
          ]}
        />
      }
    >
      <LimitsPanel />
      {labs.error && <Told error={labs.error} again={() => void labs.refetch()} />}
      {!labs.data && !labs.error && (
        <Waiting what="your usage">
          <Shape height="18rem" />
        </Waiting>
      )}
      {labs.data && labs.data.items.length === 0 && (
        <Empty
          title="Nothing was used in this time"
          action={
            <Button component={Link} to="/catalogue">
              Choose a datalab
            </Button>
          }
        >
          Each lab counts from the start of its program to its end, by the clock of the machine it ran on.
        </Empty>
      )}
      {labs.data && labs.data.items.length > 0 && (
        <>
          <Panel
            title="By day"
            actions={
              <SegmentedControl
                size="xs"
                aria-label="What is measured"
                value={measure}
                onChange={(value) => setMeasure(value as Measure)}
                data={Object.entries(MEASURES).map(([value, { title }]) => ({ value, label: title }))}
              />
            }
          >
            <StackedDays days={days} of={MEASURES[measure].of} />
          </Panel>
          <Table from={from} to={to} by={by} />
        </>
      )}
    </Page>
  )
}

function LimitsPanel() {
  const { data } = useQuery(limitsQuery)
  if (!data) return <Pending height="5.5rem" />
  const { used, max_labs, max_cores, max_memory_mib } = data
  return (
    <Panel title="Now">
      <div className={dataCss.space}>
        {max_labs == null ? (
          <span>{count(used.labs, 'lab')}, without a limit</span>
        ) : (
          <Meter label="Labs" used={used.labs} max={max_labs} text={`${used.labs} of ${max_labs}`} />
        )}
        {max_cores != null && (
          <Meter
            label="Cores"
            used={used.cores}
            max={max_cores}
            text={`${trim(used.cores, 2)} of ${trim(max_cores, 2)}`}
          />
        )}
        {max_memory_mib != null && (
          <Meter
            label="Memory"
            used={used.memory_mib}
            max={max_memory_mib}
            text={`${memory(used.memory_mib)} of ${memory(max_memory_mib)}`}
          />
        )}
      </div>
    </Panel>
  )
}

function colour(index: number): string {
  return `var(--series-${Math.min(index, SERIES - 1) + 1})`
}

function StackedDays({ days, of }: { days: readonly Day[]; of: string }) {
  const ranked = ranking(days)
  const place = new Map(ranked.map(({ name }, index) => [name, index]))
  const top = niceTop(Math.max(...days.map((one) => one.total)) / 3600) * 3600
  const first = days[0]
  const last = days.at(-1)
  return (
    <div>
      <div className={chartCss.under}>
        <span>{amountOf(top, of)}</span>
      </div>
      <ol className={chartCss.bars} aria-label="Use by day">
        {days.map((one) => {
          const parts = [...one.byDatalab].sort(([a], [b]) => (place.get(b) ?? 0) - (place.get(a) ?? 0))
          const words = parts.map(([name, amount]) => `${name} ${amountOf(amount, of)}`).reverse()
          return (
            <Tooltip
              key={one.at}
              multiline
              disabled={one.total === 0}
              label={
                <>
                  <b>
                    {day(one.at)}: {amountOf(one.total, of)}
                  </b>
                  {words.map((text) => (
                    <div key={text}>{text}</div>
                  ))}
                </>
              }
            >
              <li>
                <span className="sr">
                  {day(one.at)}: {one.total === 0 ? 'nothing' : words.join(', ')}
                </span>
                {parts.map(([name, amount]) => (
                  <i
                    key={name}
                    style={{ height: `${(amount / top) * 100}%`, background: colour(place.get(name) ?? 0) }}
                  />
                ))}
              </li>
            </Tooltip>
          )
        })}
      </ol>
      <div className={chartCss.under}>
        <span>{first && day(first.at)}</span>
        <span>{last && day(last.at)}</span>
      </div>
      <ul className={chartCss.legend}>
        {ranked.map(({ name, total }, index) => (
          <li key={name}>
            <i style={{ background: colour(index) }} aria-hidden />
            {name} <span>{amountOf(total, of)}</span>
          </li>
        ))}
      </ul>
    </div>
  )
}

function Table({ from, to, by }: { from: string; to: string; by: UsageGrouping }) {
  const navigate = route.useNavigate()
  const { data, error, refetch } = useQuery(usageQuery(from, to, by))
  const [all, setAll] = useState(false)
  const save = (): void => {
    if (!data) return
    const url = URL.createObjectURL(new Blob([csv(data.items)], { type: 'text/csv' }))
    const link = document.createElement('a')
    link.href = url
    link.download = `datalabs-usage-by-${by}-${from.slice(0, 10)}.csv`
    link.click()
    URL.revokeObjectURL(url)
  }
  return (
    <Panel
      title="Table"
      actions={
        <div style={{ display: 'flex', flexWrap: 'wrap', gap: '0.625rem' }}>
          <SegmentedControl
            size="xs"
            aria-label="Grouped by"
            value={by}
            onChange={(value) =>
              void navigate({
                search: (before) => ({
                  ...before,
                  by: value === 'lab' ? undefined : (value as UsageGrouping),
                }),
                replace: true,
                resetScroll: false,
              })
            }
            data={[
              { value: 'lab', label: 'Lab' },
              { value: 'day', label: 'Day' },
              { value: 'datalab', label: 'Datalab' },
              { value: 'size', label: 'Size' },
            ]}
          />
          <Button
            size="xs"
            variant="default"
            leftSection={<IconDownload size={15} aria-hidden />}
            onClick={save}
            disabled={!data}
          >
            Export CSV
          </Button>
        </div>
      }
    >
      {error && <Told error={error} again={() => void refetch()} />}
      <div className={partsCss.scroller}>
        <table className={partsCss.table}>
          <thead>
            <tr>
              <th scope="col">{{ lab: 'Lab', day: 'Day', datalab: 'Datalab', size: 'Size' }[by]}</th>
              {by === 'lab' && <th scope="col">Datalab</th>}
              {by === 'lab' && <th scope="col">Started</th>}
              {by !== 'lab' && (
                <th scope="col" data-number>
                  Labs
                </th>
              )}
              <th scope="col" data-number>
                Time
              </th>
              <th scope="col" data-number>
                Cores
              </th>
              <th scope="col" data-number>
                Memory
              </th>
            </tr>
          </thead>
          <tbody>
            {data?.items.slice(0, all ? undefined : FIRST_ROWS).map((row, index) => (
              <tr key={`${row.lab ?? row.day ?? row.datalab ?? row.size}${index}`}>
                <td>
                  <Name row={row} by={by} />
                </td>
                {by === 'lab' && <td>{row.datalab}</td>}
                {by === 'lab' && (
                  <td
                    style={{ whiteSpace: 'nowrap' }}
                    title={row.started_at ? exact(row.started_at) : undefined}
                  >
                    {row.started_at && <Ago at={row.started_at} />}
                    {row.running && ', running'}
                  </td>
                )}
                {by !== 'lab' && <td data-number>{row.labs}</td>}
                <td data-number>{duration(row.seconds)}</td>
                <td data-number>{amountOf(row.core_seconds, 'core')}</td>
                <td data-number>{amountOf(row.gib_seconds, 'GiB')}</td>
              </tr>
            ))}
          </tbody>
          {data?.total && (
            <tfoot>
              <tr style={{ fontWeight: 600 }}>
                <td colSpan={by === 'lab' ? 3 : 2}>{count(data.total.labs, 'lab')} in all</td>
                <td data-number>{duration(data.total.seconds)}</td>
                <td data-number>{amountOf(data.total.core_seconds, 'core')}</td>
                <td data-number>{amountOf(data.total.gib_seconds, 'GiB')}</td>
              </tr>
            </tfoot>
          )}
        </table>
      </div>
      {data && !all && data.items.length > FIRST_ROWS && (
        <Button
          variant="subtle"
          size="compact-sm"
          onClick={() => setAll(true)}
          style={{ justifySelf: 'start' }}
        >
          Show all {data.items.length}
        </Button>
      )}
    </Panel>
  )
}

function Name({ row, by }: { row: UsageRow; by: UsageGrouping }) {
  if (by === 'lab' && row.lab) {
    return (
      <Link to="/labs/$labId" params={{ labId: row.lab }}>
        {row.name || row.lab}
      </Link>
    )
  }
  if (by === 'day' && row.day) return day(row.day)
  if (by === 'datalab' && row.datalab) {
    return (
      <Link to="/datalabs/$slug" params={{ slug: row.datalab }}>
        {row.datalab}
      </Link>
    )
  }
  return row.size ?? row.name ?? '–'
}
