/** Moments around now, as the API writes them. */
export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

export function ago(milliseconds: number): string {
  return new Date(Date.now() - milliseconds).toISOString()
}

export function ahead(milliseconds: number): string {
  return new Date(Date.now() + milliseconds).toISOString()
}
