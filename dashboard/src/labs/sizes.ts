import type { Lab, Size } from '#/api/model'

/** The smallest size with more memory, and no fewer cores, than a lab had. */
export function nextLarger(lab: Pick<Lab, 'cores' | 'memory_mib'>, sizes: readonly Size[]): Size | undefined {
  return sizes
    .filter((size) => size.memory_mib > lab.memory_mib && size.cores >= lab.cores && (size.gpus ?? 0) === 0)
    .sort((a, b) => a.memory_mib - b.memory_mib || a.cores - b.cores)[0]
}
