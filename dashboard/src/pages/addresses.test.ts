import { describe, expect, it } from 'vitest'
import { address } from '#/api/client'
import { matches } from '#/shell/find'
import { toggled, withChosen } from './facets'
import { ownAddress } from './ownAddress'

describe('addresses', () => {
  it('leads nobody to a foreign site after signing in', () => {
    expect(ownAddress('/labs?x=1')).toBe('/labs?x=1')
    for (const foreign of ['//evil.example', '/\\evil.example', 'https://evil.example', '', undefined]) {
      expect(ownAddress(foreign)).toBe('/catalogue')
    }
  })

  it('fills paths and repeats lists', () => {
    expect(
      address(
        '/labs/{lab_id}/logs',
        { lab_id: 'a/b' },
        { lines: 5, attempt: undefined, kind: ['x', 'y'], q: '' },
      ),
    ).toBe('/labs/a%2Fb/logs?lines=5&kind=x&kind=y')
  })

  it('keeps the facets of the catalogue', () => {
    const once = toggled({ q: 'x' }, 'domain', 'Geodesy')
    expect(once).toEqual({ q: 'x', domain: ['Geodesy'] })
    expect(toggled(once, 'domain', 'Geodesy')).toEqual({ q: 'x', domain: undefined })
    expect(withChosen([{ value: 'a', count: 2 }], ['b'])).toEqual([
      { value: 'a', count: 2 },
      { value: 'b', count: 0 },
    ])
  })
})

it('finds by the beginnings of words, without regard to accents', () => {
  expect(matches('gal sha', 'Galaxy shapes')).toBe(true)
  expect(matches('ephemeride', 'Éphémérides planétaires')).toBe(true)
  expect(matches('axy', 'Galaxy shapes')).toBe(false)
  expect(matches('', 'anything')).toBe(true)
})
