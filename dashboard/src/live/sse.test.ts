import { describe, expect, it } from 'vitest'
import { EventParser } from './sse'

const STREAM =
  ': hello\nretry: 1000\n\nid: e-1\nevent: hello\ndata: {}\n\nid: e-2\nevent: lab\ndata: {"a":1}\n\nevent: sample\ndata: {"b":\ndata: 2}\n\n'

describe('EventParser', () => {
  it('reads names, data and ids', () => {
    expect(new EventParser().push(STREAM)).toEqual([
      { name: 'hello', data: '{}', lastEventId: 'e-1' },
      { name: 'lab', data: '{"a":1}', lastEventId: 'e-2' },
      { name: 'sample', data: '{"b":\n2}', lastEventId: 'e-2' },
    ])
  })

  it('does not care where the network cuts the text', () => {
    const whole = new EventParser().push(STREAM)
    for (let cut = 1; cut < STREAM.length; cut += 1) {
      const parser = new EventParser()
      expect([...parser.push(STREAM.slice(0, cut)), ...parser.push(STREAM.slice(cut))]).toEqual(whole)
    }
  })

  it('takes all three line ends, also when one is cut in two', () => {
    const parser = new EventParser()
    expect([...parser.push('data: x\r'), ...parser.push('\n\r\n')]).toEqual([
      { name: 'message', data: 'x', lastEventId: '' },
    ])
  })

  it('drops an event without data and goes on from a given id', () => {
    expect(new EventParser('e-7').push('event: lab\n\ndata: y\n\n')).toEqual([
      { name: 'message', data: 'y', lastEventId: 'e-7' },
    ])
  })
})
