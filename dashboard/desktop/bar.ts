/** The slim bar above a desktop: whose it is, how long it lasts, how it is shown, and the way back. */
import { left } from '#/format/time'
import { type Choices, QUALITIES, type Quality, VIEWS, type View } from './choices'
import type { Door } from './door'
import { element, say } from './elements'
import { icon } from './icons'
import type { Words } from './stages'

export interface BarActions {
  choose(choices: Choices): void
  extend(): Promise<void>
  fullScreen(): void
  keyboard(): void
  ctrlAltDel(): void
  drag(on: boolean): void
  allowClipboard(): void
}

const NEAR_MS = 15 * 60_000
/** Where the bar has no room for more than the time itself. */
const SMALL = matchMedia('(max-width: 26rem)')

function choiceOf<K extends string>(
  name: string,
  title: string,
  from: Record<K, { title: string; text: string }>,
  chosen: K,
  choose: (value: K) => void,
): HTMLFieldSetElement {
  return element(
    'fieldset',
    {},
    element('legend', {}, title),
    ...(Object.keys(from) as K[]).map((value) =>
      element(
        'label',
        { class: 'choice' },
        element('input', {
          type: 'radio',
          name,
          value,
          checked: value === chosen,
          change: () => choose(value),
        }),
        element('span', {}, element('b', {}, from[value].title), element('small', {}, from[value].text)),
      ),
    ),
  )
}

export class Bar {
  readonly root: HTMLElement
  readonly clipboardField = element('textarea', {
    id: 'clipboard-text',
    rows: '6',
    spellcheck: 'false',
    autocomplete: 'off',
  })
  private readonly back = element(
    'a',
    { class: 'tool back', 'aria-label': 'Dashboard' },
    icon('back'),
    element('span', {}, 'Dashboard'),
  )
  private readonly name = element('h1', {}, 'Desktop')
  private readonly state = element('span', { class: 'state', role: 'status' })
  private readonly time = element('span', { class: 'time' })
  private readonly more: HTMLButtonElement
  private readonly hand: HTMLButtonElement
  private choices: Choices
  private door: Door | null = null

  constructor(
    choices: Choices,
    private readonly actions: BarActions,
  ) {
    this.choices = choices
    this.more = element(
      'button',
      { type: 'button', class: 'tool extend', hidden: true, click: () => void this.extend() },
      'Extend',
    )
    this.hand = element(
      'button',
      {
        type: 'button',
        class: 'tool',
        'aria-pressed': 'false',
        'aria-label': 'Move the picture',
        hidden: true,
      },
      icon('hand'),
    )
    this.hand.addEventListener('click', () => this.press(this.hand.getAttribute('aria-pressed') !== 'true'))
    const tool = (name: Parameters<typeof icon>[0], words: string, attributes: Record<string, string>) =>
      element(
        'button',
        { type: 'button', class: 'tool', 'aria-label': words, title: words, ...attributes },
        icon(name),
      )
    const full = tool('full', 'Full screen', { class: 'tool full' })
    full.addEventListener('click', () => actions.fullScreen())
    const keyboard = tool('keyboard', 'Show the keyboard', { class: 'tool keyboard' })
    keyboard.addEventListener('click', () => actions.keyboard())
    this.root = element(
      'header',
      { class: 'bar' },
      this.back,
      this.name,
      this.state,
      element('span', { class: 'lasts' }, this.time, this.more),
      this.hand,
      keyboard,
      tool('clipboard', 'Clipboard', { popovertarget: 'clipboard' }),
      tool('view', 'View and keys', { popovertarget: 'view' }),
      full,
      this.clipboardPanel(),
      this.viewPanel(),
    )
  }

  show(door: Door | null, words: Words): void {
    this.state.dataset.tone = words.tone
    say(this.state, words.word)
    if (!door) return
    this.door = door
    say(this.name, door.lab.name)
    this.name.title = door.lab.name
    this.back.href = door.page
    this.tick()
  }

  /** What the clock changes. */
  tick(now = Date.now()): void {
    const ends = this.door?.lab.expires_at
    const running = this.door?.lab.state === 'ready' || this.door?.lab.state === 'unreachable'
    const words = ends && running ? left(ends, now) : ''
    say(this.time, SMALL.matches ? words.replace(/ left$/, '') : words)
    this.more.hidden = !(ends && running)
    this.time.toggleAttribute('data-near', Boolean(ends && Date.parse(ends) - now < NEAR_MS))
  }

  /** Whether there is more of the desktop than the window shows. */
  clipped(clipped: boolean): void {
    this.hand.hidden = !clipped
    if (!clipped) this.press(false)
  }

  private press(on: boolean): void {
    this.hand.setAttribute('aria-pressed', String(on))
    this.actions.drag(on)
  }

  private async extend(): Promise<void> {
    this.more.disabled = true
    this.more.setAttribute('aria-busy', 'true')
    await this.actions.extend()
    this.more.disabled = false
    this.more.removeAttribute('aria-busy')
  }

  private change(change: Partial<Choices>): void {
    this.choices = { ...this.choices, ...change }
    this.actions.choose(this.choices)
  }

  private clipboardPanel(): HTMLElement {
    return element(
      'div',
      { id: 'clipboard', class: 'panel', popover: 'auto', role: 'dialog', 'aria-label': 'Clipboard' },
      element(
        'label',
        { for: 'clipboard-text' },
        'What the desktop has copied; what you write here it can paste.',
      ),
      this.clipboardField,
      element(
        'label',
        { class: 'choice' },
        element('input', {
          type: 'checkbox',
          checked: this.choices.clipboard,
          change: (event) => {
            const on = (event.target as HTMLInputElement).checked
            this.change({ clipboard: on })
            if (on) this.actions.allowClipboard()
          },
        }),
        element(
          'span',
          {},
          element('b', {}, 'Exchange by itself'),
          element('small', {}, 'Your browser may ask whether this page may read what you copy.'),
        ),
      ),
    )
  }

  private viewPanel(): HTMLElement {
    return element(
      'div',
      { id: 'view', class: 'panel', popover: 'auto', role: 'dialog', 'aria-label': 'View and keys' },
      choiceOf<View>('view', 'Size', VIEWS, this.choices.view, (view) => this.change({ view })),
      choiceOf<Quality>('quality', 'Quality', QUALITIES, this.choices.quality, (quality) =>
        this.change({ quality }),
      ),
      element(
        'div',
        { class: 'keys' },
        element(
          'button',
          { type: 'button', class: 'plain', click: () => this.actions.ctrlAltDel() },
          'Send Ctrl Alt Del',
        ),
        element(
          'button',
          { type: 'button', class: 'plain', click: () => this.actions.keyboard() },
          'Show the keyboard',
        ),
      ),
      element(
        'p',
        { class: 'hint' },
        'The desktop gets every key, Tab too. ',
        element('kbd', {}, 'Ctrl Alt Shift B'),
        ' brings the keyboard back to this bar.',
      ),
    )
  }
}
