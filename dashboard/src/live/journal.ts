/** What events told of labs of late, so that a slower reading can be brought up to date when it arrives. */
import type { Lab } from '#/api/model'

const KEPT = 1_000

export class Journal {
  private entries: { number: number; lab: Lab }[] = []
  private number = 0

  add(lab: Lab): void {
    this.number += 1
    this.entries.push({ number: this.number, lab })
    if (this.entries.length > KEPT) this.entries = this.entries.slice(-KEPT / 2)
  }

  /** The present place; what comes after it is `since` it. */
  mark(): number {
    return this.number
  }

  since(mark: number): Lab[] {
    return this.entries.filter((entry) => entry.number > mark).map((entry) => entry.lab)
  }
}

export const labJournal = new Journal()
