/** Collections of the mock platform. */
import type { Collection } from '../src/api/model'

export function collections(): Collection[] {
  return [
    collection(
      'iers',
      'IERS Earth orientation parameters',
      'Polar motion, UT1−UTC and leap seconds since 1973.',
      3_800_000,
      'Geodesy',
      '',
      'CC-BY-4.0',
    ),
    collection(
      'de421',
      'JPL planetary ephemeris DE421',
      'Positions of the Sun, the Moon and the planets from 1900 to 2050.',
      16_788_480,
      'Astronomy',
      '',
      'Public domain',
    ),
    collection(
      'rinex-sample',
      'RINEX sample observations',
      'One day of GNSS observations of one station, RINEX 2 and 3.',
      9_200_000,
      'Geodesy',
      'Galileo',
      'MIT',
    ),
    collection(
      'bright-stars',
      'Bright star catalogue',
      'Nine thousand stars to magnitude 6.5 with positions, colours and proper motions.',
      1_400_000,
      'Astronomy',
      'Gaia',
      'CC0-1.0',
    ),
    {
      ...collection(
        'galaxies',
        'Galaxy images',
        'Cut-outs of two thousand galaxies in three bands, labelled by shape.',
        412_000_000,
        'Astronomy',
        'Euclid',
        'CC-BY-4.0',
      ),
      available: false,
      message: 'It is being installed: 61 % of 393 MiB.',
    },
  ]
}

function collection(
  id: string,
  title: string,
  abstract: string,
  bytes: number,
  domain: string,
  mission: string,
  licence: string,
): Collection {
  return {
    id,
    title,
    abstract,
    description: `${abstract}\n\nThe files are mounted **read-only** at \`/data/${id}\` in every lab that asks for them.\n\n- checked against their SHA-256 sums when they were installed\n- never changed afterwards`,
    domain,
    mission,
    licence,
    source: 'https://example.org/archive',
    citation: {
      text: `Archive team (2025). ${title}. Version 2025-11.`,
      doi: '10.5555/12345678',
      url: 'https://doi.org/10.5555/12345678',
    },
    path: `/data/${id}`,
    bytes,
    files: [
      { path: 'README.txt', bytes: 2_114, sha256: '9f2c'.repeat(16) },
      { path: `${id}.dat`, bytes: bytes - 2_114, sha256: 'b71e'.repeat(16) },
    ],
    available: true,
    message: '',
    revision: 1,
  }
}
