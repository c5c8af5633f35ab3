// Sets the colour scheme before the first paint, so that a dark room stays dark. A file of its own: no inline script.
const stored = localStorage.getItem('datalabs-scheme')
const dark = stored === 'dark' || (stored !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light')
