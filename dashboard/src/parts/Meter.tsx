import type { Tone } from '#/labs/states'
import css from './parts.module.css'

interface Props {
  label: string
  used: number
  max: number
  /** What one more step would take, drawn hatched behind what is used. */
  more?: number
  text: string
}

function toneOf(share: number): Tone {
  if (share > 1) return 'bad'
  return share > 0.85 ? 'warn' : 'good'
}

/** A bar of something limited: used, and what a launch would add. */
export function Meter({ label, used, max, more = 0, text }: Props) {
  const share = max > 0 ? used / max : 0
  const added = max > 0 ? Math.min(more / max, Math.max(0, 1 - share)) : 0
  return (
    <div>
      <div
        style={{ display: 'flex', justifyContent: 'space-between', gap: '0.75rem', fontSize: '0.8125rem' }}
      >
        <span>{label}</span>
        <span style={{ color: 'var(--ink-2)', textAlign: 'end' }}>{text}</span>
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: <meter> cannot show what one more step would add */}
      <div
        className={css.meter}
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={max}
        aria-valuenow={Math.min(used, max)}
        aria-valuetext={text}
        data-tone={toneOf((used + more) / (max || 1))}
      >
        <span style={{ width: `${Math.min(1, share) * 100}%` }} />
        {added > 0 && <span style={{ width: `${added * 100}%` }} />}
      </div>
    </div>
  )
}
