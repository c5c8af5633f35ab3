const PAUSES_MS = [80, 400, 1200]

/** Load a part of the dashboard again when its connection broke, before the page is given up. */
export function retrying<T>(load: () => Promise<T>): () => Promise<T> {
  return async () => {
    for (const pause of PAUSES_MS) {
      try {
        return await load()
      } catch {
        await new Promise((resolve) => setTimeout(resolve, pause))
      }
    }
    return load()
  }
}
