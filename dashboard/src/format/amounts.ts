/** Amounts as people read them: cores, memory, bytes, counts. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** At most one decimal, none when it is zero. */
export function trim(value: number, digits = 1): string {
  return String(Number(value.toFixed(digits)))
}

/** `1 core`, `0.5 core`, `2 cores`, `0 cores`. */
export function cores(count: number): string {
  return `${trim(count, 2)} ${count > 0 && count <= 1 ? 'core' : 'cores'}`
}

/** `512 MiB`, `4 GiB`, `1.5 GiB`. */
export function memory(mib: number): string {
  return mib < 1024 ? `${trim(mib, 0)} MiB` : `${trim(mib / 1024)} GiB`
}

/** `383 of 768 MiB`, `1.1 of 2 GiB`. */
export function memoryOf(used: number, all: number): string {
  return bytesOf(used * 1024 ** 2, all * 1024 ** 2)
}

/** `2 cores · 4 GiB`. */
export function resources(count: number, mib: number): string {
  return `${cores(count)} · ${memory(mib)}`
}

/** `12.4 GiB`. */
export function bytes(count: number): string {
  const { value, unit } = scaled(count)
  return `${value} ${unit}`
}

function scaled(count: number): { value: string; unit: string; power: number } {
  let power = 0
  let rest = Math.max(0, count)
  while (rest >= 1024 && power < UNITS.length - 1) {
    rest /= 1024
    power += 1
  }
  return { value: trim(rest), unit: UNITS[power] ?? 'B', power }
}

/** `12.4 of 100 GiB`, or with both units where they differ: `312 MiB of 100 GiB`. */
export function bytesOf(used: number, all: number): string {
  const a = scaled(used)
  const b = scaled(all)
  return a.power === b.power
    ? `${a.value} of ${b.value} ${b.unit}`
    : `${a.value} ${a.unit} of ${b.value} ${b.unit}`
}

/** `1 lab`, `3 labs`. */
export function count(number: number, one: string, many: string = `${one}s`): string {
  return `${number.toLocaleString('en-GB')} ${number === 1 ? one : many}`
}

/** `1st`, `2nd`, `3rd`, `11th`. */
export function ordinal(number: number): string {
  const tens = number % 100
  if (tens >= 11 && tens <= 13) return `${number}th`
  return `${number}${['th', 'st', 'nd', 'rd'][number % 10] ?? 'th'}`
}

/** Core-seconds, GiB-seconds or lab-seconds in the unit that fits: `7.5 core s`, `42 core min`, `3.4 core h`. */
export function amountOf(seconds: number, of: string): string {
  const [unit, length] = seconds < 100 ? ['s', 1] : seconds < 6000 ? ['min', 60] : ['h', 3600]
  const value = seconds / Number(length)
  return `${trim(value, value < 10 ? 1 : 0)} ${of} ${unit}`
}
