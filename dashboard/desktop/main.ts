/**
 * A desktop in the browser, on its lab's own origin: connects to the lab by WebSocket, shows the screen, hands over keys,
 * pointer and clipboard, and says how long the lab lasts. No frameworks: it must be there before the desktop is.
 */
import '@fontsource-variable/atkinson-hyperlegible-next/wght.css'
import './desktop.css'
import { Bar } from './bar'
import { keepChoices, storedChoices } from './choices'
import { Clipboards } from './clipboard'
import { Desk } from './desk'
import { type Expiring, extend } from './door'
import { element, say } from './elements'
import { words } from './stages'
import { TouchKeyboard } from './touch-keyboard'
import { Veil } from './veil'

const NOTICE_MS = 60_000

let choices = storedChoices()
const screen = element('div', { class: 'screen', role: 'application', 'aria-label': 'Desktop' })
const notice = element('div', { class: 'notice', role: 'alert', hidden: true })
const noticeText = element('p')
const touch = new TouchKeyboard((keysym) => desk.press(keysym))

async function moreTime(): Promise<void> {
  const read = await extend()
  notice.hidden = true
  if ('door' in read) desk.learned(read.door)
  else tell('It could not be extended now. Try again, or extend it from its page.')
}

function tell(text: string): void {
  say(noticeText, text)
  notice.hidden = false
  clearTimeout(noticeTimer)
  noticeTimer = setTimeout(() => {
    notice.hidden = true
  }, NOTICE_MS)
}
let noticeTimer: ReturnType<typeof setTimeout> | undefined

function expiring({ minutes, reason }: Expiring): void {
  const why = reason === 'idle' ? 'nobody has used it for a while' : 'its time is nearly over'
  tell(`This desktop ends in ${minutes || 'a few'} min, because ${why}. Extend it to go on.`)
}

async function fullScreen(): Promise<void> {
  if (document.fullscreenElement) {
    await document.exitFullscreen()
    return
  }
  await document.documentElement.requestFullscreen({ navigationUI: 'hide' }).catch(() => undefined)
  // Where the browser can, the desktop gets Escape and Alt+Tab as well; holding Escape still leaves.
  const keyboard = (navigator as { keyboard?: { lock?(): Promise<void> } }).keyboard
  await keyboard?.lock?.().catch(() => undefined)
  desk.focus()
}

const bar: Bar = new Bar(choices, {
  choose(next) {
    choices = next
    keepChoices(next)
    desk.choose(next)
  },
  extend: moreTime,
  fullScreen: () => void fullScreen(),
  keyboard: () => touch.show(),
  ctrlAltDel: () => desk.ctrlAltDel(),
  drag: (on) => desk.drag(on),
  allowClipboard: () => void clipboards.fetch(),
})

const clipboards = new Clipboards(
  bar.clipboardField,
  (text) => desk.paste(text),
  () => choices.clipboard,
)

const desk: Desk = new Desk(
  screen,
  {
    stage(stage, door) {
      const said = words(stage, door?.lab ?? null)
      bar.show(door, said)
      veil.show(stage, door, said)
      document.body.dataset.stage = stage.name
      const name = door?.lab.name ?? 'Desktop'
      document.title = stage.name === 'connected' ? name : `${said.word}: ${name}`
      screen.setAttribute('aria-label', `Desktop of ${name}`)
      if (stage.name === 'connected' && !bar.root.contains(document.activeElement)) desk.focus()
    },
    lab: (door) =>
      bar.show(door, words({ name: desk.connected ? 'connected' : 'connecting', again: false }, door.lab)),
    expiring,
    clipboard: (text) => void clipboards.take(text),
    clipped: (clipped) => bar.clipped(clipped),
  },
  choices,
)

const veil: Veil = new Veil({
  again: () => void desk.look(),
  password: (password) => desk.password(password),
})
const handle = element(
  'button',
  { type: 'button', class: 'handle', 'aria-label': 'Show the bar', click: () => focusBar() },
  '',
)
notice.append(
  noticeText,
  element('button', { type: 'button', class: 'strong', click: () => void moreTime() }, 'Extend'),
  element(
    'button',
    {
      type: 'button',
      class: 'plain',
      click: () => {
        notice.hidden = true
      },
    },
    'Close',
  ),
)
document.body.append(bar.root, handle, notice, element('main', {}, screen, veil.root, touch.field))

function focusBar(): void {
  desk.release()
  bar.root.querySelector<HTMLElement>('a[href], button:not([hidden])')?.focus()
}

// Before noVNC sees it: the one chord that the desktop does not get.
addEventListener(
  'keydown',
  (event) => {
    if (event.code !== 'KeyB' || !event.ctrlKey || !event.altKey || !event.shiftKey) return
    event.preventDefault()
    event.stopImmediatePropagation()
    focusBar()
  },
  { capture: true },
)
addEventListener('focus', () => {
  void clipboards.mayFetch().then((may) => (may ? clipboards.fetch() : undefined))
})
addEventListener('online', () => void desk.look())
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !desk.connected) void desk.look()
})
document.addEventListener('fullscreenchange', () => {
  document.body.toggleAttribute('data-full', document.fullscreenElement !== null)
})
setInterval(() => bar.tick(), 1_000)
void desk.look()
