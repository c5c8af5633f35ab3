/** The catalogue of the mock platform: the datalabs that ship, and enough invented ones to fill a page. */
import type { Datalab, DatalabDetail, Kind, Size, Version } from '../src/api/model'
import { collections } from './collections.ts'
import { ago, DAY } from './times.ts'

export const SIZES: Size[] = [
  size('small', 'Small', 0.5, 768),
  size('medium', 'Medium', 1, 2048),
  size('large', 'Large', 2, 4096),
  size('huge', 'Huge', 32, 131_072),
  { ...size('gpu', 'With a GPU', 4, 16_384), gpus: 1, gpu_name: 'NVIDIA A100', node_class: 'gpu' },
]

function size(name: string, title: string, cores: number, memory: number): Size {
  return { name, title, cores, memory_mib: memory, disk_mib: 4096, gpus: 0, gpu_name: null, node_class: null }
}

function icon(letter: string, from: string, to: string): string {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><defs><linearGradient id="g" x2="1" y2="1"><stop stop-color="${from}"/><stop offset="1" stop-color="${to}"/></linearGradient></defs><rect width="64" height="64" rx="14" fill="url(#g)"/>${letter}</svg>`
  return `data:image/svg+xml,${encodeURIComponent(svg)}`
}

const orbit =
  '<circle cx="32" cy="32" r="7" fill="#fff"/><ellipse cx="32" cy="32" rx="22" ry="9" fill="none" stroke="#fff" stroke-width="3" transform="rotate(-28 32 32)"/>'
const net =
  '<g fill="#fff"><circle cx="16" cy="20" r="5"/><circle cx="16" cy="44" r="5"/><circle cx="32" cy="32" r="6"/><circle cx="49" cy="32" r="5"/></g><path d="M16 20 32 32 16 44M32 32h17" stroke="#fff" stroke-width="3" fill="none"/>'
const wave =
  '<path d="M8 36c6-18 10-18 16 0s10 18 16 0 10-18 16 0" fill="none" stroke="#fff" stroke-width="4"/>'
const prompt = '<path d="m14 22 10 10-10 10M30 44h18" fill="none" stroke="#fff" stroke-width="5"/>'
const page =
  '<path d="M18 12h20l10 10v30H18z" fill="#fff"/><path d="M24 30h18M24 38h18M24 46h10" stroke="#34606e" stroke-width="3"/>'
const compass =
  '<circle cx="32" cy="32" r="19" fill="none" stroke="#fff" stroke-width="3"/><path d="m40 24-5 11-11 5 5-11z" fill="#fff"/>'

interface Entry {
  slug: string
  title: string
  abstract: string
  kind: Kind
  domain: string
  mission: string
  keywords: string[]
  icon: string
  people: number
  seconds: number
  collections: string[]
}

const ENTRIES: Entry[] = [
  {
    slug: 'jupyterlab',
    title: 'JupyterLab for astronomy',
    abstract: 'Notebooks with astropy, astroquery, pyvo and skyfield, next to the archives.',
    kind: 'notebook',
    domain: 'Astronomy',
    mission: '',
    keywords: ['python', 'notebook', 'astropy'],
    icon: icon(orbit, '#0f6f86', '#12324a'),
    people: 41,
    seconds: 0.6,
    collections: ['iers', 'de421'],
  },
  {
    slug: 'machine-learning',
    title: 'Machine learning',
    abstract:
      'The astronomy notebooks with scikit-learn and a small example that classifies images of galaxies.',
    kind: 'notebook',
    domain: 'Astronomy',
    mission: 'Euclid',
    keywords: ['python', 'notebook', 'classification'],
    icon: icon(net, '#7a4fb3', '#2e2557'),
    people: 17,
    seconds: 0.9,
    collections: ['galaxies'],
  },
  {
    slug: 'gnss',
    title: 'GNSS and Earth rotation',
    abstract:
      'Read RINEX files, look at satellite signals, and see what the rotation of the Earth does to them.',
    kind: 'notebook',
    domain: 'Geodesy',
    mission: 'Galileo',
    keywords: ['python', 'notebook', 'rinex'],
    icon: icon(compass, '#a15a12', '#4a2408'),
    people: 9,
    seconds: 4.2,
    collections: ['rinex-sample', 'iers'],
  },
  {
    slug: 'web-explorer',
    title: 'Sky explorer',
    abstract: 'A web application to browse a catalogue of bright stars: filter, plot, save what you select.',
    kind: 'web',
    domain: 'Astronomy',
    mission: 'Gaia',
    keywords: ['web', 'plots'],
    icon: icon(wave, '#1b5a9c', '#10203f'),
    people: 23,
    seconds: 2.4,
    collections: ['bright-stars'],
  },
  {
    slug: 'terminal',
    title: 'Terminal',
    abstract: 'A shell in the browser with your home and the collections mounted.',
    kind: 'web',
    domain: 'Tools',
    mission: '',
    keywords: ['shell'],
    icon: icon(prompt, '#33454f', '#131d23'),
    people: 12,
    seconds: 0.4,
    collections: [],
  },
  {
    slug: 'report',
    title: 'Earth rotation report',
    abstract: 'Runs a notebook to an HTML page in your home, then ends by itself.',
    kind: 'batch',
    domain: 'Geodesy',
    mission: '',
    keywords: ['notebook', 'batch'],
    icon: icon(page, '#0d6544', '#0a2c22'),
    people: 4,
    seconds: 1.1,
    collections: ['iers'],
  },
]

function datalab(entry: Entry): Datalab {
  return {
    slug: entry.slug,
    title: entry.title,
    abstract: entry.abstract,
    kind: entry.kind,
    domain: entry.domain,
    mission: entry.mission,
    keywords: entry.keywords,
    icon_url: entry.icon,
    latest_version: entry.slug === 'jupyterlab' ? '1.2' : '1.0',
    revision: 1,
    people: entry.people,
    expected_seconds: entry.seconds,
    readiness: { datalab: entry.slug, version: '1.0', state: 'ready', fraction: 1, text: '', revision: 5 },
  }
}

const WORDS = [
  'Spectra',
  'Cubes',
  'Light curves',
  'Photometry',
  'Orbits',
  'Maps',
  'Radar',
  'Clouds',
  'Ice',
  'Ocean',
]
const MISSIONS = ['XMM-Newton', 'Gaia', 'Euclid', 'Sentinel-2', 'JUICE', 'Hubble', 'Webb', 'Swarm']
const DOMAINS = ['Astronomy', 'Earth observation', 'Planetary science', 'Geodesy', 'Heliophysics']

/** Two hundred more, for the crowded catalogue; one has a very long name. */
export function crowd(): Datalab[] {
  return Array.from({ length: 200 }, (_, index) => ({
    slug: `invented-${index}`,
    title:
      index === 3
        ? 'Simultaneous multi-wavelength photometric redshift estimation and cross-identification workbench for extended surveys'
        : `${WORDS[index % WORDS.length]} of ${MISSIONS[index % MISSIONS.length]} ${index}`,
    abstract:
      'An entry that stands for the many that a large archive offers, with a sentence of the usual length.',
    kind: (['notebook', 'web', 'desktop', 'batch'] as const)[index % 4] ?? 'web',
    domain: DOMAINS[index % DOMAINS.length] ?? '',
    mission: MISSIONS[index % MISSIONS.length] ?? '',
    keywords: [],
    icon_url: '',
    latest_version: '1.0',
    revision: 1,
    people: index % 30,
    expected_seconds: index % 9 === 0 ? null : 1 + (index % 60),
    readiness:
      index % 11 === 0
        ? {
            datalab: `invented-${index}`,
            version: '1.0',
            state: 'preparing',
            fraction: 0.42,
            text: 'Fetching 312 of 840 MB',
            revision: 2,
          }
        : {
            datalab: `invented-${index}`,
            version: '1.0',
            state: 'ready',
            fraction: 1,
            text: '',
            revision: 2,
          },
  }))
}

export function shipped(): Datalab[] {
  const items = ENTRIES.map(datalab)
  const gnss = items.find((item) => item.slug === 'gnss')
  if (gnss) {
    gnss.readiness = {
      datalab: 'gnss',
      version: '1.0',
      state: 'preparing',
      fraction: 0.37,
      text: 'Installing 41 of 112 packages',
      revision: 3,
    }
  }
  for (const item of items) if (item.readiness) item.readiness.version = item.latest_version
  return items
}

function version(name: string, published: number, entry: Entry): Version {
  return {
    name,
    published_at: ago(published),
    runtimes: ['process', 'container'],
    sizes: SIZES.map((item) => item.name),
    default_size: 'small',
    parameters_schema: parameters(entry.slug),
    collections: entry.collections,
    packages: [
      'astropy 7.1',
      'astroquery 0.4.11',
      'jupyterlab 4.5.0',
      'matplotlib 3.10',
      'numpy 2.3',
      'pandas 2.3',
      'pyvo 1.7',
      'scipy 1.16',
      'skyfield 1.53',
    ],
    notes: name === '1.2' ? 'Newer astropy; the starter notebooks use the collections.' : 'First version.',
  }
}

function parameters(slug: string): Record<string, unknown> {
  if (slug === 'report') {
    return {
      type: 'object',
      required: ['year'],
      properties: {
        year: {
          type: 'integer',
          title: 'Year',
          description: 'The year that the report covers.',
          minimum: 1973,
          maximum: 2026,
          default: 2025,
        },
        quantity: {
          type: 'string',
          title: 'Quantity',
          enum: ['ut1_utc', 'polar_motion'],
          default: 'ut1_utc',
        },
        title: { type: 'string', title: 'Title of the page', maxLength: 80 },
        plots: { type: 'boolean', title: 'With plots', default: true },
      },
    }
  }
  if (slug === 'web-explorer') {
    return {
      type: 'object',
      properties: {
        magnitude: {
          type: 'number',
          title: 'Faintest magnitude',
          description: 'Stars fainter than this are left out.',
          minimum: -2,
          maximum: 7,
          default: 6,
        },
      },
    }
  }
  return {}
}

const DESCRIPTION = `JupyterLab 4 with the packages that an astronomer reaches for first, and a starter notebook for each collection.

## What you can do with it

- query the Virtual Observatory with \`pyvo\` and \`astroquery\`
- compute where the planets stand with \`skyfield\` and the **DE421** ephemeris under \`/data/de421\`
- plot how the length of a day has changed, from \`/data/iers\`

\`\`\`python
from astropy.utils import iers
table = iers.IERS_A.open("/data/iers/finals2000A.all")
\`\`\`

Packages that you install with \`pip\` stay in your home and are there again in the next lab.

| notebook | collection | shows |
|---|---|---|
| \`earth-rotation.ipynb\` | iers | the length of day since 1973 |
| \`planets.ipynb\` | de421 | the sky of tonight |
`

export function detail(card: Datalab): DatalabDetail {
  const entry = ENTRIES.find((item) => item.slug === card.slug) ?? (ENTRIES[0] as Entry)
  return {
    ...card,
    description: DESCRIPTION,
    licence: 'BSD-3-Clause',
    language: 'Python',
    creator: 'Open Datalabs',
    contact: { name: 'Datalabs team', email: 'datalabs@example.org', organisation: 'Open Datalabs' },
    citation: {
      text: `Open Datalabs (2026). ${card.title}, version ${card.latest_version}. https://doi.org/10.5555/87654321`,
      doi: '10.5555/87654321',
      url: 'https://doi.org/10.5555/87654321',
    },
    funder: '',
    versions:
      card.slug === 'jupyterlab'
        ? [version('1.2', 12 * DAY, entry), version('1.1', 90 * DAY, entry), version('1.0', 200 * DAY, entry)]
        : [version('1.0', 40 * DAY, entry)],
    sizes: SIZES,
    collections: collections().filter((item) => entry.collections.includes(item.id)),
  }
}
