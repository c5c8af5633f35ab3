/** The two clipboards: what is copied in the desktop comes here, what is copied here goes there. */

export class Clipboards {
  private last = ''

  constructor(
    private readonly field: HTMLTextAreaElement,
    private readonly send: (text: string) => void,
    private readonly wanted: () => boolean,
  ) {
    field.addEventListener('change', () => this.give(field.value))
  }

  /** Text was copied in the desktop. Browsers allow writing only while the page has the focus. */
  async take(text: string): Promise<void> {
    this.last = text
    this.field.value = text
    if (!this.wanted() || !document.hasFocus()) return
    await navigator.clipboard?.writeText(text).catch(() => undefined)
  }

  /** Hand the desktop what was copied elsewhere, where the browser lets a page read it. */
  async fetch(): Promise<void> {
    if (!this.wanted() || !document.hasFocus() || !navigator.clipboard?.readText) return
    const text = await navigator.clipboard.readText().catch(() => '')
    if (text && text !== this.last) this.give(text)
  }

  /** Whether reading needs no question to the person any more. */
  async mayFetch(): Promise<boolean> {
    try {
      const status = await navigator.permissions.query({ name: 'clipboard-read' as PermissionName })
      return status.state === 'granted'
    } catch {
      return false
    }
  }

  private give(text: string): void {
    this.last = text
    this.field.value = text
    this.send(text)
  }
}
