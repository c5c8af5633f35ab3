/** The connection to a desktop: looks whether its lab is there, connects, connects again, and says where it stands. */
import RFB from '@novnc/novnc'
import type { Lab } from '#/api/model'
import { type Choices, QUALITIES } from './choices'
import { type Door, type Expiring, LabEvents, type Read, readDoor } from './door'
import { MODIFIERS } from './keys'
import { pauseBefore, type Stage, stageOf } from './stages'

/** A connection that says nothing for so long is tried anew. */
const CONNECT_MS = 20_000

export interface Watcher {
  stage(stage: Stage, door: Door | null): void
  lab(door: Door): void
  expiring(notice: Expiring): void
  clipboard(text: string): void
  clipped(clipped: boolean): void
}

export class Desk {
  private rfb: RFB | undefined
  private stage: Stage = { name: 'looking' }
  private door: Door | null = null
  private attempt = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private looking: Promise<void> | undefined
  private readonly events: LabEvents

  constructor(
    private readonly screen: HTMLElement,
    private readonly watcher: Watcher,
    private choices: Choices,
  ) {
    this.events = new LabEvents({
      lab: (lab) => this.learn(lab),
      expiring: (notice) => watcher.expiring(notice),
      again: () => void this.look(),
    })
  }

  get connected(): boolean {
    return this.stage.name === 'connected'
  }

  /** Read how the lab is, and go on from there; also what "try now" does. */
  look(): Promise<void> {
    if (this.stage.name === 'broken') this.stage = { ...this.stage, nextAt: 0 }
    this.looking ??= this.reallyLook().finally(() => {
      this.looking = undefined
    })
    return this.looking
  }

  choose(choices: Choices): void {
    this.choices = choices
    if (this.rfb) this.applyChoices(this.rfb)
  }

  learned(door: Door): void {
    this.door = door
    this.learn(door.lab)
  }

  focus(): void {
    this.rfb?.focus({ preventScroll: true })
  }

  /** Let go of the keyboard: no modifier stays down in the desktop. */
  release(): void {
    for (const [keysym, code] of MODIFIERS) this.rfb?.sendKey(keysym, code, false)
    this.rfb?.blur()
  }

  press(keysym: number): void {
    this.rfb?.sendKey(keysym, null)
  }

  ctrlAltDel(): void {
    this.rfb?.sendCtrlAltDel()
  }

  paste(text: string): void {
    if (this.connected) this.rfb?.clipboardPasteFrom(text)
  }

  password(password: string): void {
    this.rfb?.sendCredentials({ password })
    this.enter({ name: 'connecting', again: false })
  }

  drag(on: boolean): void {
    if (this.rfb) this.rfb.dragViewport = on
  }

  private async reallyLook(): Promise<void> {
    clearTimeout(this.timer)
    const read = await readDoor()
    if ('shutOut' in read) this.shut({ name: 'shut-out' })
    else if ('gone' in read) this.shut({ name: 'ended' })
    else if ('away' in read) this.unlessConnected(() => this.pause())
    else this.found(read)
  }

  private found({ door }: Extract<Read, { door: Door }>): void {
    this.events.open()
    this.door = door
    this.watcher.lab(door)
    this.goOn(door.lab)
  }

  private learn(lab: Lab): void {
    if (!this.door || lab.revision < this.door.lab.revision) return
    this.door = { ...this.door, lab }
    this.watcher.lab(this.door)
    this.goOn(lab)
  }

  /** What the lab's state asks for; a connection that stands stays while the lab may be there. */
  private goOn(lab: Lab): void {
    const next = stageOf(lab)
    if (next === 'ended') this.shut({ name: 'ended' })
    else if (next === 'waiting') this.shut({ name: 'waiting' })
    else if (this.stage.name !== 'broken' || this.stage.nextAt <= Date.now())
      this.unlessConnected(() => this.connect())
  }

  private unlessConnected(work: () => void): void {
    if (!['connecting', 'connected', 'password'].includes(this.stage.name)) work()
  }

  private connect(): void {
    clearTimeout(this.timer)
    this.drop()
    this.enter({ name: 'connecting', again: this.attempt > 0 })
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
    const rfb = new RFB(this.screen, `${scheme}://${location.host}/`, { wsProtocols: ['binary'] })
    this.rfb = rfb
    this.timer = setTimeout(() => {
      if (this.rfb !== rfb || this.stage.name !== 'connecting') return
      this.drop()
      this.pause()
    }, CONNECT_MS)
    const mine = (work: () => void) => () => this.rfb === rfb && work()
    this.applyChoices(rfb)
    rfb.background = 'transparent'
    rfb.showDotCursor = true
    rfb.addEventListener(
      'connect',
      mine(() => {
        clearTimeout(this.timer)
        this.attempt = 0
        this.enter({ name: 'connected' })
      }),
    )
    rfb.addEventListener(
      'disconnect',
      mine(() => this.lost()),
    )
    rfb.addEventListener(
      'credentialsrequired',
      mine(() => this.enter({ name: 'password' })),
    )
    rfb.addEventListener('securityfailure', (event) => {
      if (this.rfb !== rfb) return
      this.shut({ name: 'refused', text: event.detail.reason ?? '' })
    })
    rfb.addEventListener('clipboard', (event) => this.watcher.clipboard(event.detail.text))
    rfb.addEventListener('clippingviewport', (event) => this.watcher.clipped(event.detail))
  }

  private applyChoices(rfb: RFB): void {
    const { view, quality } = this.choices
    const { quality: level, compression } = QUALITIES[quality]
    rfb.clipViewport = view === 'actual'
    rfb.resizeSession = view === 'fit'
    rfb.scaleViewport = view !== 'actual'
    rfb.qualityLevel = level
    rfb.compressionLevel = compression
    if (view !== 'actual') rfb.dragViewport = false
  }

  /** The connection is gone: the lab's state says why, and what comes next. */
  private lost(): void {
    this.rfb = undefined
    this.pause()
  }

  /** Wait a little, then look again; longer each time. */
  private pause(): void {
    this.attempt += 1
    const pause = pauseBefore(this.attempt)
    this.enter({ name: 'broken', attempt: this.attempt, nextAt: Date.now() + pause })
    clearTimeout(this.timer)
    this.timer = setTimeout(() => void this.look(), pause)
  }

  private shut(stage: Stage): void {
    clearTimeout(this.timer)
    this.drop()
    if (stage.name === 'shut-out' || (stage.name === 'ended' && !this.door)) this.events.close()
    this.attempt = 0
    this.enter(stage)
  }

  private drop(): void {
    const rfb = this.rfb
    this.rfb = undefined
    rfb?.disconnect()
  }

  private enter(stage: Stage): void {
    this.stage = stage
    this.watcher.stage(stage, this.door)
  }
}
