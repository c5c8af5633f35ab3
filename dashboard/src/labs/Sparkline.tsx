import type { Sample } from '#/api/model'
import css from './labs.module.css'
import { sparkPath } from './spark'

interface Props {
  label: string
  value: string
  samples: readonly Sample[]
  of: (sample: Sample) => number
  max: number
}

/** The last quarter of an hour of one measure, with its present value as text. */
export function Sparkline({ label, value, samples, of, max }: Props) {
  const { line, area } = sparkPath(samples.map(of), max)
  return (
    <div className={css.spark}>
      <span>{label}</span>
      <svg viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <path d={area} className={css.sparkArea} />
        <path d={line} className={css.sparkLine} vectorEffect="non-scaling-stroke" />
      </svg>
      <output>{value}</output>
    </div>
  )
}
