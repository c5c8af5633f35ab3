const PAUSES_MS = [80, 400, 1200]
const RELOADED_KEY = 'datalabs-reloaded-at'
const RELOAD_AGAIN_MS = 60_000

/**
 * Load a part of the dashboard again when its connection broke, before the page is given up. A part that stays away has
 * most likely gone with an older build: then the page is loaded anew, once.
 */
export function retrying<T>(load: () => Promise<T>): () => Promise<T> {
  return async () => {
    for (const pause of PAUSES_MS) {
      try {
        return await load()
      } catch {
        await new Promise((resolve) => setTimeout(resolve, pause))
      }
    }
    return load().catch((error: unknown) => {
      const last = Number(sessionStorage.getItem(RELOADED_KEY) ?? 0)
      if (Date.now() - last > RELOAD_AGAIN_MS) {
        sessionStorage.setItem(RELOADED_KEY, String(Date.now()))
        location.reload()
      }
      throw error
    })
  }
}
