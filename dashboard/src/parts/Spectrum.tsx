import { memo, useMemo } from 'react'
import { hue, lines } from '#/theme/spectrum'
import css from './spectrum.module.css'

/** A datalab's spectrum as a strip; decoration, so it has no name. */
export const Spectrum = memo(function Spectrum({ name, tall = false }: { name: string; tall?: boolean }) {
  const drawn = useMemo(() => lines(name), [name])
  return (
    <svg
      className={css.strip}
      data-tall={tall || undefined}
      viewBox="0 0 1000 10"
      preserveAspectRatio="none"
      aria-hidden="true"
      focusable="false"
    >
      {drawn.map((line, index) => (
        <rect
          key={index}
          x={line.at * 1000 - line.width / 2}
          y="0"
          width={line.width}
          height="10"
          style={{ fill: hue(line.at), opacity: line.strength }}
        />
      ))}
    </svg>
  )
})
