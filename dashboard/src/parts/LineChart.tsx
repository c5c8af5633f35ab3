import { type PointerEvent, type RefObject, useId, useLayoutEffect, useRef, useState } from 'react'
import { clock } from '#/format/time'
import css from './charts.module.css'

export interface Point {
  /** Milliseconds since 1970. */
  at: number
  value: number
}

interface Props {
  label: string
  points: readonly Point[]
  max: number
  words: (value: number) => string
  colour?: string
  /** Nothing limits it: `max` is only the top of the scale. */
  open?: boolean
}

/** Pixels: the drawing has as many units, so that the scale's text keeps its size at any width. */
const HEIGHT = 180
/** The width that is taken before one could be measured. */
const WIDTH = 400
const LEFT = 68
const BOTTOM = 22
const TOP = 8
/** One measurement alone is a dot: there is no line to draw yet. */
const DOT = 4

/** A measure over time with its limit as the top of the scale; pointing shows time and value. */
export function LineChart({ label, points, max, words, colour = 'var(--series-1)', open = false }: Props) {
  const [at, setAt] = useState<number | null>(null)
  const svg = useRef<SVGSVGElement>(null)
  const width = useWidth(svg, points.length > 0)
  const id = useId()
  const first = points[0]
  const last = points.at(-1)
  if (!first || !last)
    return <p className={css.none}>No measurements yet; they come each few seconds while it runs.</p>
  const span = Math.max(1, last.at - first.at)
  const lone = first === last
  const x = (point: Point): number =>
    lone ? width - DOT : LEFT + ((point.at - first.at) / span) * (width - LEFT)
  const y = (value: number): number =>
    TOP + (1 - Math.min(1, Math.max(0, value / (max || 1)))) * (HEIGHT - BOTTOM - TOP)
  const line = points.map((point) => `${x(point).toFixed(1)},${y(point.value).toFixed(1)}`).join('L')
  const shown = at === null ? last : (points[at] ?? last)
  const point = (event: PointerEvent): void => {
    const box = svg.current?.getBoundingClientRect()
    if (!box) return
    const place = ((event.clientX - box.left) / box.width) * width
    let best = 0
    points.forEach((candidate, index) => {
      const known = points[best]
      if (known && Math.abs(x(candidate) - place) < Math.abs(x(known) - place)) best = index
    })
    setAt(best)
  }
  return (
    <figure className={css.figure}>
      <figcaption>
        <b>{label}</b>
        <output>
          {open ? words(shown.value) : `${words(shown.value)} of ${words(max)}`}
          <span> {clock(shown.at)}</span>
        </output>
      </figcaption>
      <svg
        ref={svg}
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label={`${label}: now ${words(last.value)}${open ? '' : ` of ${words(max)}`}`}
        onPointerMove={point}
        onPointerLeave={() => setAt(null)}
      >
        <defs>
          <linearGradient id={id} x2="0" y2="1">
            <stop offset="0" stopColor={colour} stopOpacity="0.28" />
            <stop offset="1" stopColor={colour} stopOpacity="0.02" />
          </linearGradient>
        </defs>
        {[0, 0.5, 1].map((share) => (
          <g key={share}>
            <line x1={LEFT} x2={width} y1={y(share * max)} y2={y(share * max)} className={css.rule} />
            <text x={LEFT - 8} y={y(share * max) + 4} textAnchor="end" className={css.tick}>
              {words(share * max)}
            </text>
          </g>
        ))}
        {lone ? (
          <circle cx={x(first)} cy={y(first.value)} r={DOT} fill={colour} />
        ) : (
          <>
            <path d={`M${line}L${width},${y(0)}L${LEFT},${y(0)}Z`} fill={`url(#${id})`} />
            <path d={`M${line}`} fill="none" stroke={colour} strokeWidth="1.75" strokeLinejoin="round" />
            <text x={LEFT} y={HEIGHT - 5} className={css.tick}>
              {clock(first.at)}
            </text>
          </>
        )}
        <text x={width} y={HEIGHT - 5} textAnchor="end" className={css.tick}>
          {clock(last.at)}
        </text>
        {at !== null && (
          <g>
            <line x1={x(shown)} x2={x(shown)} y1={TOP} y2={HEIGHT - BOTTOM} className={css.cursor} />
            <circle cx={x(shown)} cy={y(shown.value)} r="4" fill={colour} />
          </g>
        )}
      </svg>
    </figure>
  )
}

/** The width of an element in pixels, whenever it changes; `there` says whether it is on the page. */
function useWidth(of: RefObject<Element | null>, there: boolean): number {
  const [width, setWidth] = useState(WIDTH)
  useLayoutEffect(() => {
    const element = of.current
    if (!there || !element) return
    const measure = (): void => setWidth(Math.round(element.getBoundingClientRect().width) || WIDTH)
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(element)
    return () => observer.disconnect()
  }, [of, there])
  return width
}
