/** What stands over the screen while there is no desktop to see: what happens, whether anything is lost, what to do. */
import type { Door } from './door'
import { element, say } from './elements'
import type { Stage, Words } from './stages'

interface VeilActions {
  again(): void
  password(password: string): void
}

export class Veil {
  readonly root: HTMLElement
  private readonly title = element('h2')
  private readonly text = element('p')
  private readonly again: HTMLButtonElement
  private readonly page = element('a', { class: 'strong' }, "Go to the lab's page")
  private readonly open = element('a', { class: 'strong' }, 'Open it again')
  private readonly form: HTMLFormElement
  private readonly field = element('input', { type: 'password', autocomplete: 'off', id: 'vnc-password' })

  constructor(actions: VeilActions) {
    this.again = element(
      'button',
      { type: 'button', class: 'strong', click: () => actions.again() },
      'Try now',
    )
    this.form = element(
      'form',
      {
        submit: (event) => {
          event.preventDefault()
          actions.password(this.field.value)
          this.field.value = ''
        },
      },
      element('label', { for: 'vnc-password' }, 'Password'),
      this.field,
      element('button', { class: 'strong' }, 'Connect'),
    )
    this.root = element(
      'section',
      { class: 'veil', 'aria-label': 'Connection' },
      element('div', { class: 'told' }, this.title, this.text, this.form, this.again, this.page, this.open),
    )
    // Announced through one live region: title and text change together.
    this.root.firstElementChild?.setAttribute('aria-live', 'polite')
  }

  show(stage: Stage, door: Door | null, words: Words): void {
    const hidden = stage.name === 'connected'
    this.root.hidden = hidden
    this.root.dataset.tone = words.tone
    this.root.dataset.stage = stage.name
    say(this.title, words.title)
    say(this.text, words.text)
    this.again.hidden = words.action !== 'again'
    this.form.hidden = words.action !== 'password'
    this.page.hidden = words.action !== 'page' || !door
    this.open.hidden = words.action !== 'open'
    if (door) this.page.href = door.page
    // Whoever is not let in knows no page: reloading this one leads to where one is let in again.
    this.open.href = door ? `${door.page}/open` : location.href
    if (!hidden && words.action === 'password') this.field.focus()
  }
}
