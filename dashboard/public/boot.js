// Runs before anything else; a file of its own, so that the page needs no inline script.

// The colour scheme before the first paint, so that a dark room stays dark.
const stored = localStorage.getItem('datalabs-scheme')
const dark = stored === 'dark' || (stored !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light')

// Chromium breaks its connections whenever a network interface comes or goes, as at each start of a lab on this very
// machine. A page that lost its script or its style that way is loaded again, at most three times in a row.
addEventListener(
  'error',
  (event) => {
    const lost = event.target
    if (
      !(lost instanceof HTMLScriptElement || (lost instanceof HTMLLinkElement && lost.rel === 'stylesheet'))
    )
      return
    const tries = Number(sessionStorage.getItem('datalabs-boots') ?? 0)
    if (tries >= 3) return
    sessionStorage.setItem('datalabs-boots', String(tries + 1))
    setTimeout(() => location.reload(), 250 * 2 ** tries)
  },
  true,
)
