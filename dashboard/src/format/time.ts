/** Times and durations as people read them; every function is pure and takes the present as an argument. */

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const exactFormat = new Intl.DateTimeFormat('en-GB', {
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  timeZoneName: 'short',
})
const shortFormat = new Intl.DateTimeFormat('en-GB', {
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
})
const clockFormat = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
})
const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' })
const dayWithYearFormat = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
})

/** Milliseconds since 1970 of an ISO instant. */
export function millis(instant: string): number {
  return Date.parse(instant)
}

/** The exact moment in the reader's zone, for titles and tooltips. */
export function exact(instant: string | number): string {
  return exactFormat.format(new Date(instant))
}

/** `Sun, 22 Nov, 12:04`, for a moment to come within some weeks. */
export function short(instant: string | number): string {
  return shortFormat.format(new Date(instant))
}

/** `12:04:31` in the reader's zone. */
export function clock(instant: string | number): string {
  return clockFormat.format(new Date(instant))
}

/** `22 Nov`, with the year when it is not this one. */
export function day(instant: string | number, now: number = Date.now()): string {
  const date = new Date(instant)
  const format = date.getFullYear() === new Date(now).getFullYear() ? dayFormat : dayWithYearFormat
  return format.format(date)
}

/** A length of time in at most two units: `0.4 s`, `12 s`, `3 min 12 s`, `3 h 12 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return '0 s'
  if (seconds < 0.00095) return 'under 1 ms'
  if (seconds < 0.0095) return `${(seconds * 1000).toFixed(1)} ms`
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < MINUTE) return `${whole} s`
  if (whole < HOUR) return pair(Math.floor(whole / MINUTE), 'min', whole % MINUTE, 's')
  if (whole < DAY) return pair(Math.floor(whole / HOUR), 'h', Math.floor((whole % HOUR) / MINUTE), 'min')
  return pair(Math.floor(whole / DAY), 'd', Math.floor((whole % DAY) / HOUR), 'h')
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`
}

/** An expectation, rounded so that it does not pretend to know: `~4 s`, `~2 min`, `under 1 s`. */
export function about(seconds: number): string {
  if (seconds < 0.95) return 'under 1 s'
  if (seconds < 45) return `~${Math.round(seconds)} s`
  if (seconds < 50 * MINUTE) return `~${Math.max(1, Math.round(seconds / MINUTE))} min`
  return `~${Math.max(1, Math.round(seconds / HOUR))} h`
}

/** How long ago, or in how long: `just now`, `3 min ago`, `in 2 h`, `22 Nov`. */
export function relative(instant: string | number, now: number): string {
  const seconds = (now - new Date(instant).getTime()) / 1000
  const distance = Math.abs(seconds)
  if (distance < 10) return 'just now'
  if (distance >= 7 * DAY) return day(instant, now)
  const amount = coarse(distance)
  return seconds >= 0 ? `${amount} ago` : `in ${amount}`
}

function coarse(seconds: number): string {
  if (seconds < MINUTE) return `${Math.floor(seconds)} s`
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h`
  return `${Math.floor(seconds / DAY)} d`
}

/** What is left until a moment: `3 h 12 min left`, `42 s left`, `ending now`. */
export function left(until: string, now: number): string {
  const seconds = Math.floor((millis(until) - now) / 1000)
  if (seconds <= 0) return 'ending now'
  if (seconds < MINUTE) return `${seconds} s left`
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min left`
  return `${duration(Math.floor(seconds / MINUTE) * MINUTE)} left`
}
