import { useQuery } from '@tanstack/react-query'
import { type ComponentProps, useMemo } from 'react'
import type { Lab, Sample } from '#/api/model'
import { metricsQuery } from '#/api/queries'
import { bytes, cores, memory } from '#/format/amounts'
import { millis } from '#/format/time'
import { rates } from '#/live/rates'
import { useSamples } from '#/live/samples'
import { LineChart, type Point } from '#/parts/LineChart'
import { Panel } from '#/parts/Page'
import { useVisible } from '#/parts/visible'
import css from './lab.module.css'

type Drawn = 'label' | 'points' | 'max' | 'words' | 'colour' | 'open'

const SMALLEST_RATE = 10 * 1024

function points(samples: readonly Sample[], of: (sample: Sample) => number | null | undefined): Point[] {
  return samples.flatMap((sample) => {
    const value = of(sample)
    return value == null ? [] : [{ at: millis(sample.at), value }]
  })
}

/** What it uses, measured while somebody looks: a page that nobody sees draws nothing. */
export function MetricsPanel({ lab }: { lab: Lab }) {
  const visible = useVisible()
  useQuery({ ...metricsQuery(lab.id), enabled: visible })
  const newest = useSamples(lab.id)
  // biome-ignore lint/correctness/useExhaustiveDependencies: hidden, the charts stay as they were
  const samples = useMemo(() => newest, [visible ? newest : null])
  const last = samples.at(-1)
  const shown = useMemo(
    () => ({
      cpu: points(samples, (sample) => sample.cores),
      memory: points(samples, (sample) => sample.memory_mib),
      disk: points(samples, (sample) => sample.disk_mib),
      received: rates(samples, (sample) => sample.received_bytes),
      sent: rates(samples, (sample) => sample.sent_bytes),
    }),
    [samples],
  )
  const rate = (value: number): string => `${bytes(value)}/s`
  const top = (...all: Point[][]): number =>
    Math.max(SMALLEST_RATE, ...all.flat().map((point) => point.value))
  const busiest = top(shown.received, shown.sent)
  const traffic = { max: busiest, words: rate, open: true }
  const charts: (Pick<ComponentProps<typeof LineChart>, Drawn> & { always?: boolean })[] = [
    { label: 'CPU', points: shown.cpu, max: last?.max_cores ?? lab.cores, words: cores, always: true },
    {
      label: 'Memory',
      points: shown.memory,
      max: last?.max_memory_mib ?? lab.memory_mib,
      words: memory,
      colour: 'var(--series-3)',
      always: true,
    },
    {
      label: 'Scratch',
      points: shown.disk,
      max: last?.max_disk_mib ?? lab.disk_mib,
      words: memory,
      colour: 'var(--series-2)',
    },
    { label: 'Received', points: shown.received, colour: 'var(--series-4)', ...traffic },
    { label: 'Sent', points: shown.sent, colour: 'var(--series-6)', ...traffic },
  ]
  return (
    <Panel title="What it uses">
      <div className={css.charts}>
        {charts.map(
          ({ points, always, ...chart }) =>
            (always || points.length > 0) && <LineChart key={chart.label} points={points} {...chart} />,
        )}
      </div>
    </Panel>
  )
}
