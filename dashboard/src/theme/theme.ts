/**
 * The look: the night sky through an instrument. Cool paper by day, night-adapted ink by dark, petrol for what can be
 * done, and the lines of the spectrum for states: [O III] green is ready, H-beta blue is on its way, sodium amber wants a
 * look, H-alpha red has failed. Atkinson Hyperlegible sets the text: its zero, O, l and I cannot be taken for another.
 */
import { createTheme, defaultVariantColorsResolver, type MantineColorsTuple } from '@mantine/core'

const petrol: MantineColorsTuple = [
  '#e8f5f8',
  '#cfe7ed',
  '#a3d2de',
  '#74bdcf',
  '#4fabc2',
  '#2f93ad',
  '#167a95',
  '#0a627a',
  '#064b5f',
  '#033643',
]

const gray: MantineColorsTuple = [
  '#f4f6f7',
  '#eaeef1',
  '#dde4e8',
  '#cbd5db',
  '#b2bfc8',
  '#8b9ca8',
  '#61737f',
  '#465762',
  '#2b3a44',
  '#13212a',
]

const dark: MantineColorsTuple = [
  '#e3ebef',
  '#b3c2cb',
  '#93a5b0',
  '#5f727e',
  '#2c3c47',
  '#1f2d37',
  '#152027',
  '#0b1217',
  '#080e12',
  '#05090c',
]

export const theme = createTheme({
  fontFamily: '"Atkinson Hyperlegible Next Variable", system-ui, sans-serif',
  fontFamilyMonospace: '"Atkinson Hyperlegible Mono Variable", ui-monospace, monospace',
  headings: {
    fontFamily: '"Atkinson Hyperlegible Next Variable", system-ui, sans-serif',
    fontWeight: '640',
    sizes: {
      h1: { fontSize: '1.75rem', lineHeight: '1.2' },
      h2: { fontSize: '1.25rem', lineHeight: '1.3' },
      h3: { fontSize: '1.0625rem', lineHeight: '1.35' },
      h4: { fontSize: '0.9375rem', lineHeight: '1.4' },
    },
  },
  fontSizes: { xs: '0.8125rem', sm: '0.875rem', md: '0.9375rem', lg: '1.0625rem', xl: '1.25rem' },
  lineHeights: { xs: '1.4', sm: '1.45', md: '1.55', lg: '1.5', xl: '1.4' },
  spacing: { xs: '0.5rem', sm: '0.75rem', md: '1rem', lg: '1.5rem', xl: '2.25rem' },
  radius: { xs: '3px', sm: '5px', md: '7px', lg: '11px', xl: '16px' },
  defaultRadius: 'md',
  colors: { petrol, gray, dark },
  primaryColor: 'petrol',
  primaryShade: { light: 7, dark: 3 },
  // Mantine chooses a filled button's text for the light scheme only; the tokens know both.
  variantColorResolver: (input) => {
    const colours = defaultVariantColorsResolver(input)
    if ((input.color ?? 'petrol') !== 'petrol') return colours
    if (input.variant === 'subtle') return { ...colours, color: 'var(--act)' }
    if (input.variant !== 'filled') return colours
    return { ...colours, background: 'var(--fill)', hover: 'var(--fill-hover)', color: 'var(--on-fill)' }
  },
  cursorType: 'pointer',
  respectReducedMotion: true,
  components: {
    Tooltip: {
      defaultProps: { openDelay: 350, withArrow: true, events: { hover: true, focus: true, touch: true } },
    },
    Notification: { defaultProps: { closeButtonProps: { 'aria-label': 'Close' } } },
    Menu: { defaultProps: { shadow: 'md', position: 'bottom-end' } },
  },
})
