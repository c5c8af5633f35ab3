import { describe, expect, it } from 'vitest'
import { amountOf, bytes, bytesOf, cores, count, memory, memoryOf, ordinal, resources } from './amounts'

describe('amounts', () => {
  it('says cores and memory as people do', () => {
    expect(resources(2, 4096)).toBe('2 cores · 4 GiB')
    expect(resources(0.5, 768)).toBe('0.5 core · 768 MiB')
    expect(cores(1)).toBe('1 core')
    expect(cores(0)).toBe('0 cores')
    expect(memory(1536)).toBe('1.5 GiB')
  })

  it('says what is used of what', () => {
    expect(bytesOf(13_314_398_617, 107_374_182_400)).toBe('12.4 of 100 GiB')
    expect(bytesOf(327_155_712, 107_374_182_400)).toBe('312 MiB of 100 GiB')
    expect(memoryOf(383, 768)).toBe('383 of 768 MiB')
    expect(bytes(0)).toBe('0 B')
  })

  it('counts', () => {
    expect(count(1, 'lab')).toBe('1 lab')
    expect(count(1234, 'person', 'people')).toBe('1,234 people')
    expect([1, 2, 3, 4, 11, 12, 13, 21, 102].map(ordinal)).toEqual([
      '1st',
      '2nd',
      '3rd',
      '4th',
      '11th',
      '12th',
      '13th',
      '21st',
      '102nd',
    ])
    expect([7.5, 5400, 193 * 3600].map((seconds) => amountOf(seconds, 'core'))).toEqual([
      '7.5 core s',
      '90 core min',
      '193 core h',
    ])
  })
})
