import { expect, it } from 'vitest'
import { readChoices, USUAL } from './choices'
import { keysymOf, typed } from './keys'

it('knows the keysyms of Latin-1, of the rest of Unicode and of control keys', () => {
  expect(['a', 'é', 'µ', '€', '\n', '\t'].map(keysymOf)).toEqual([
    0x61, 0xe9, 0xb5, 0x10020ac, 0xff0d, 0xff09,
  ])
  expect(keysymOf('😀')).toBe(0x101f600)
})

it('tells what a keyboard of a telephone changed', () => {
  expect(typed('__', '__ab')).toEqual({ gone: 0, came: ['a', 'b'] })
  expect(typed('__ab', '__a')).toEqual({ gone: 1, came: [] })
  expect(typed('__teh', '__the')).toEqual({ gone: 2, came: ['h', 'e'] })
  expect(typed('__', '__😀')).toEqual({ gone: 0, came: ['😀'] })
})

it('reads choices that were kept, and falls back on the usual', () => {
  expect(readChoices('{"view":"actual","quality":"light","clipboard":false}')).toEqual({
    view: 'actual',
    quality: 'light',
    clipboard: false,
  })
  for (const broken of [null, '', 'nonsense', '{"view":"toString","quality":3}'])
    expect(readChoices(broken)).toEqual(USUAL)
})
