/** The text of a server-sent event stream as events; a pure, incremental parser (WHATWG HTML, section 9.2.6). */

export interface ServerEvent {
  name: string
  data: string
  /** The id that stands after this event; a stream without ids keeps the last one. */
  lastEventId: string
}

export class EventParser {
  private rest = ''
  private name = ''
  private data: string[] = []
  lastEventId: string

  constructor(lastEventId = '') {
    this.lastEventId = lastEventId
  }

  /** Take the next piece of text, which may end anywhere, and return the events that it completes. */
  push(text: string): ServerEvent[] {
    const found: ServerEvent[] = []
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/)
    this.rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (this.data.length > 0) {
          found.push({
            name: this.name || 'message',
            data: this.data.join('\n'),
            lastEventId: this.lastEventId,
          })
        }
        this.name = ''
        this.data = []
        continue
      }
      const colon = line.indexOf(':')
      if (colon === 0) continue
      const field = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
      if (field === 'event') this.name = value
      else if (field === 'data') this.data.push(value)
      else if (field === 'id' && !value.includes('\0')) this.lastEventId = value
    }
    return found
  }
}
