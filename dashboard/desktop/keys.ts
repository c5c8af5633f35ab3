/** Text as the keys that X knows: for screens without a keyboard, whose own keyboard gives text only. */

export const RETURN = 0xff0d
export const BACKSPACE = 0xff08
export const TAB = 0xff09
/** Modifiers that may be held when the keyboard leaves the desktop: Ctrl, Alt, Shift, Meta, both sides. */
export const MODIFIERS: readonly [number, string][] = [
  [0xffe3, 'ControlLeft'],
  [0xffe4, 'ControlRight'],
  [0xffe9, 'AltLeft'],
  [0xffea, 'AltRight'],
  [0xffe1, 'ShiftLeft'],
  [0xffe2, 'ShiftRight'],
  [0xffe7, 'MetaLeft'],
  [0xffe8, 'MetaRight'],
]

/** The keysym of a character (X11 protocol, appendix A: Latin-1 as it is, the rest of Unicode with a mark). */
export function keysymOf(character: string): number {
  const code = character.codePointAt(0) ?? 0
  if (character === '\n' || character === '\r') return RETURN
  if (character === '\t') return TAB
  const latin = (code >= 0x20 && code <= 0x7e) || (code >= 0xa0 && code <= 0xff)
  return latin ? code : 0x01000000 | code
}

/** What was typed between two states of a text field: how many characters went at the end, and what came. */
export function typed(before: string, after: string): { gone: number; came: string[] } {
  const old = [...before]
  const now = [...after]
  let same = 0
  while (same < old.length && same < now.length && old[same] === now[same]) same += 1
  return { gone: old.length - same, came: now.slice(same) }
}
