/** What this page uses of noVNC, which brings no types. */
declare module '@novnc/novnc' {
  interface Events {
    connect: CustomEvent
    disconnect: CustomEvent<{ clean: boolean }>
    credentialsrequired: CustomEvent<{ types: string[] }>
    securityfailure: CustomEvent<{ status: number; reason?: string }>
    clipboard: CustomEvent<{ text: string }>
    desktopname: CustomEvent<{ name: string }>
    clippingviewport: CustomEvent<boolean>
  }

  export default class RFB {
    constructor(
      target: HTMLElement,
      url: string,
      options?: { shared?: boolean; wsProtocols?: string[]; credentials?: { password?: string } },
    )
    background: string
    clipViewport: boolean
    compressionLevel: number
    dragViewport: boolean
    qualityLevel: number
    resizeSession: boolean
    scaleViewport: boolean
    showDotCursor: boolean
    readonly clippingViewport: boolean
    addEventListener<E extends keyof Events>(name: E, listener: (event: Events[E]) => void): void
    blur(): void
    clipboardPasteFrom(text: string): void
    disconnect(): void
    focus(options?: FocusOptions): void
    sendCredentials(credentials: { password?: string; username?: string }): void
    sendCtrlAltDel(): void
    sendKey(keysym: number, code: string | null, down?: boolean): void
  }
}
