/** Elements with their attributes and children in one expression. */

type Attributes = Record<string, string | boolean | ((event: Event) => void) | undefined>

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name, value)
    else if (value === true) made.setAttribute(name, '')
    else if (typeof value === 'string') made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

/** Set a text only when it differs, so that screen readers hear changes only. */
export function say(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text
}
