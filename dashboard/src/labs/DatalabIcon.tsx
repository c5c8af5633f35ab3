import { IconDeviceDesktop, IconNotebook, IconPlayerPlay, IconWorldWww } from '@tabler/icons-react'
import { useState } from 'react'
import type { Kind } from '#/api/model'
import css from './labs.module.css'

export const KIND_WORDS: Record<Kind, string> = {
  notebook: 'Notebook',
  web: 'Web application',
  desktop: 'Desktop',
  batch: 'Runs by itself',
}

export const KIND_GLYPHS = {
  notebook: IconNotebook,
  web: IconWorldWww,
  desktop: IconDeviceDesktop,
  batch: IconPlayerPlay,
} as const

interface Props {
  url?: string | undefined
  kind: Kind
  size?: number
}

/** A datalab's icon; its kind's glyph where there is none or it cannot be loaded. */
export function DatalabIcon({ url, kind, size = 44 }: Props) {
  const [broken, setBroken] = useState(false)
  const Glyph = KIND_GLYPHS[kind]
  return (
    <span className={css.icon} style={{ width: size, height: size, borderRadius: size * 0.22 }}>
      {url && !broken ? (
        <img
          src={url}
          alt=""
          width={size}
          height={size}
          loading="lazy"
          decoding="async"
          onError={() => setBroken(true)}
        />
      ) : (
        <Glyph size={size * 0.55} stroke={1.6} aria-hidden />
      )}
    </span>
  )
}
