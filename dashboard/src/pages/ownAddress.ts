/** Only addresses of our own: a foreign `next` must not lead anybody away after signing in. */
export function ownAddress(next: string | undefined): string {
  return next?.startsWith('/') && !next.startsWith('//') && !next.startsWith('/\\') ? next : '/catalogue'
}
