/** From midnight of the first day to the coming midnight, in the reader's zone; the same all day, so it can be cached. */
export function defaultRange(days = 30, now = new Date()): { from: string; to: string } {
  const to = new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1)
  const from = new Date(to.getFullYear(), to.getMonth(), to.getDate() - days)
  return { from: from.toISOString(), to: to.toISOString() }
}
