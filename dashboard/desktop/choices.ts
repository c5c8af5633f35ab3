/** What somebody chose for their desktops, kept in this browser for this lab's origin. */

export type View = 'fit' | 'scale' | 'actual'
export type Quality = 'best' | 'balanced' | 'light'

export interface Choices {
  view: View
  quality: Quality
  /** Exchange the clipboards by themselves. */
  clipboard: boolean
}

const KEY = 'datalabs-desktop'
export const USUAL: Choices = { view: 'fit', quality: 'balanced', clipboard: true }

export const VIEWS: Record<View, { title: string; text: string }> = {
  fit: {
    title: 'Fit this window',
    text: 'The desktop takes the size of the window; one that cannot is scaled.',
  },
  scale: { title: 'Scale', text: 'The desktop keeps its size and is drawn larger or smaller.' },
  actual: { title: 'Actual size', text: 'One to one; drag to see the rest.' },
}

/** JPEG quality and compression effort, both 0 to 9, as RFB's pseudo-encodings have them. */
export const QUALITIES: Record<
  Quality,
  { title: string; text: string; quality: number; compression: number }
> = {
  best: { title: 'Best', text: 'True colours, for a fast network.', quality: 9, compression: 0 },
  balanced: { title: 'Balanced', text: 'Hardly a difference, half the traffic.', quality: 6, compression: 2 },
  light: { title: 'Slow network', text: 'Coarser while things move.', quality: 2, compression: 9 },
}

export function readChoices(stored: string | null): Choices {
  try {
    const read = JSON.parse(stored ?? '{}') as Partial<Choices>
    return {
      view: read.view && Object.hasOwn(VIEWS, read.view) ? read.view : USUAL.view,
      quality: read.quality && Object.hasOwn(QUALITIES, read.quality) ? read.quality : USUAL.quality,
      clipboard: typeof read.clipboard === 'boolean' ? read.clipboard : USUAL.clipboard,
    }
  } catch {
    return USUAL
  }
}

export function storedChoices(): Choices {
  return readChoices(localStorage.getItem(KEY))
}

export function keepChoices(choices: Choices): void {
  localStorage.setItem(KEY, JSON.stringify(choices))
}
