/** For how long a lab can be kept by one click; the site's own bound may be nearer and says so. */
const HOUR = 3_600_000

export interface KeepChoice {
  title: string
  until: string
}

/** `until tonight` is 22:00 of the reader's day, while that is some hours away. */
export function keepChoices(now: number): KeepChoice[] {
  const tonight = new Date(now)
  tonight.setHours(22, 0, 0, 0)
  const choices: [string, number][] = [
    ...(tonight.getTime() - now > 2 * HOUR
      ? ([['until 22:00', tonight.getTime()]] as [string, number][])
      : []),
    ['for 24 hours', now + 24 * HOUR],
    ['for 3 days', now + 72 * HOUR],
  ]
  return choices.map(([title, until]) => ({ title, until: new Date(until).toISOString() }))
}
