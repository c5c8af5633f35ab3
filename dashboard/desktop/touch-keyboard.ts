/** A text field that nobody sees: it calls up the keyboard of a telephone and hands on what is typed there. */
import { element } from './elements'
import { BACKSPACE, keysymOf, typed } from './keys'

/** The field is never empty, so that going back is seen as a change, too. */
const PADDING = '_'.repeat(64)

export class TouchKeyboard {
  readonly field = element('textarea', {
    class: 'touch-keyboard',
    'aria-label': 'Keys for the desktop',
    autocapitalize: 'off',
    autocomplete: 'off',
    spellcheck: 'false',
    tabindex: '-1',
  })
  private before = PADDING

  constructor(press: (keysym: number) => void) {
    this.reset()
    this.field.addEventListener('input', () => {
      const { gone, came } = typed(this.before, this.field.value)
      for (let count = 0; count < gone; count += 1) press(BACKSPACE)
      for (const character of came) press(keysymOf(character))
      // A keyboard that composes a word keeps its place in it; the field begins anew once it has grown or shrunk a lot.
      if (this.field.value.length > 4 * PADDING.length || this.field.value.length < PADDING.length / 2)
        this.reset()
      else this.before = this.field.value
    })
  }

  show(): void {
    this.reset()
    this.field.focus({ preventScroll: true })
  }

  private reset(): void {
    this.before = PADDING
    this.field.value = PADDING
    this.field.setSelectionRange(PADDING.length, PADDING.length)
  }
}
