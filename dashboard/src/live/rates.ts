import type { Sample } from '#/api/model'
import { millis } from '#/format/time'

/** Per second, from a count that only grows; where it fell (a new attempt) nothing is said. */
export function rates(
  samples: readonly Sample[],
  of: (sample: Sample) => number | null | undefined,
): { at: number; value: number }[] {
  return samples.flatMap((sample, index) => {
    const before = samples[index - 1]
    if (!before) return []
    const [from, to] = [of(before), of(sample)]
    const seconds = (millis(sample.at) - millis(before.at)) / 1000
    if (from == null || to == null || to < from || seconds <= 0) return []
    return [{ at: millis(sample.at), value: (to - from) / seconds }]
  })
}
