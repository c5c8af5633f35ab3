"""What the platform knows, in memory: labs, environments' readiness and collections, each by its highest revision.

Events, pages of snapshots and replies arrive in any order and any number of times; only a higher revision changes
anything, so the result is the same whatever the order.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datalabs_contracts.datalabs import Collection, Readiness
from datalabs_contracts.labs import Lab

REMEMBERED_DELETIONS = 20_000
"""Labs that were deleted: a late event must not bring one back."""
REMEMBERED_PAGES = 8
"""Serialised pages kept for one owner between two changes."""

Key = tuple[float, str]
"""A lab's place in lists: newest first, so the creation time counts down."""


@dataclass(slots=True)
class Entry:
    """A lab and, once somebody asked, its JSON."""

    lab: Lab
    key: Key
    body: bytes | None = None

    def json(self) -> bytes:
        """Return the lab as JSON, made once a revision."""
        if self.body is None:
            self.body = self.lab.model_dump_json().encode()
        return self.body


@dataclass(slots=True)
class _Shelf:
    """One owner's labs; `complete` until an old one was put out of memory."""

    keys: list[Key] = field(default_factory=list)
    complete: bool = True
    pages: dict[Any, bytes] = field(default_factory=dict)


class LabsInMemory:
    """All labs that run or wait, and the newest ended ones."""

    def __init__(self, *, max_ended: int) -> None:
        self._max_ended = max_ended
        self._entries: dict[str, Entry] = {}
        self._shelves: dict[str, _Shelf] = {}
        self._all = _Shelf()
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, lab_id: str) -> Entry | None:
        """Return a lab."""
        return self._entries.get(lab_id)

    def is_gone(self, lab_id: str) -> bool:
        """Whether this lab was deleted."""
        return lab_id in self._gone

    def merge(self, lab: Lab) -> bool:
        """Take a lab as somebody reported it; return whether it was news."""
        known = self._entries.get(lab.id)
        seen = known.lab.revision if known is not None else self._gone.get(lab.id, 0)
        if lab.revision <= seen:
            return False
        if lab.deleted and lab.state.ended:
            self._forget(lab.id)
            self._remember_gone(lab)
            return True
        self._gone.pop(lab.id, None)
        entry = Entry(lab, known.key if known is not None else (-lab.created_at.timestamp(), lab.id))
        self._entries[lab.id] = entry
        shelf = self._shelves.setdefault(lab.owner, _Shelf())
        if known is None:
            insort(shelf.keys, entry.key)
            insort(self._all.keys, entry.key)
        self._changed(lab.owner)
        if lab.state.ended:
            self._ended[lab.id] = None
            self._ended.move_to_end(lab.id)
            self._bound()
        else:
            self._ended.pop(lab.id, None)
        return True

    def revisions(self) -> dict[str, int]:
        """Return what is known now, to compare with a snapshot later."""
        return {lab_id: entry.lab.revision for lab_id, entry in self._entries.items()}

    def settle(self, before: dict[str, int], found: set[str]) -> None:
        """Drop what a whole snapshot did not contain and no event has touched since it began."""
        for lab_id, revision in before.items():
            entry = self._entries.get(lab_id)
            if lab_id not in found and entry is not None and entry.lab.revision == revision:
                self._forget(lab_id)

    def is_complete(self, owner: str | None) -> bool:
        """Whether every lab of an owner (None: of everybody) is in memory."""
        if owner is None:
            return self._all.complete
        shelf = self._shelves.get(owner)
        return shelf is None or shelf.complete

    def page(
        self, owner: str | None, *, include_ended: bool, limit: int, after: Key | None
    ) -> tuple[list[Entry], Key | None]:
        """Return a page of labs, newest first, and the key to go on from."""
        shelf = self._all if owner is None else self._shelves.get(owner)
        items: list[Entry] = []
        for entry in self._from(shelf, after):
            if not include_ended and entry.lab.state.ended:
                continue
            if len(items) == limit:
                return items, items[-1].key
            items.append(entry)
        return items, None

    def remembered_page(self, owner: str, asked: Any) -> bytes | None:
        """Return a serialised page of one owner if nothing of theirs has changed since."""
        shelf = self._shelves.get(owner)
        return shelf.pages.get(asked) if shelf is not None else None

    def remember_page(self, owner: str, asked: Any, page: bytes) -> None:
        """Keep a serialised page until something of this owner changes."""
        shelf = self._shelves.setdefault(owner, _Shelf())
        if len(shelf.pages) >= REMEMBERED_PAGES:
            shelf.pages.clear()
        shelf.pages[asked] = page

    def _from(self, shelf: _Shelf | None, after: Key | None) -> Iterator[Entry]:
        for key in shelf.keys if shelf is not None else ():
            if after is None or key > after:
                yield self._entries[key[1]]

    def _changed(self, owner: str) -> None:
        self._shelves[owner].pages.clear()

    def _forget(self, lab_id: str) -> None:
        entry = self._entries.pop(lab_id, None)
        self._ended.pop(lab_id, None)
        if entry is not None:
            shelf = self._shelves[entry.lab.owner]
            shelf.keys.remove(entry.key)
            self._all.keys.remove(entry.key)
            self._changed(entry.lab.owner)

    def _remember_gone(self, lab: Lab) -> None:
        self._gone[lab.id] = lab.revision
        self._gone.move_to_end(lab.id)
        if len(self._gone) > REMEMBERED_DELETIONS:
            self._gone.popitem(last=False)

    def _bound(self) -> None:
        while len(self._ended) > self._max_ended:
            lab_id = next(iter(self._ended))
            owner = self._entries[lab_id].lab.owner
            self._forget(lab_id)
            self._shelves[owner].complete = False
            self._all.complete = False


class ReadinessInMemory:
    """How far each version's environment is."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Readiness] = {}
        self.generation = 0

    def merge(self, readiness: Readiness) -> bool:
        """Take a report; return whether it was news."""
        key = (readiness.datalab, readiness.version)
        known = self._known.get(key)
        if known is not None and readiness.revision <= known.revision:
            return False
        self._known[key] = readiness
        self.generation += 1
        return True

    def of(self, datalab: str, version: str) -> Readiness | None:
        """Return what is known of one version."""
        return self._known.get((datalab, version))


class CollectionsInMemory:
    """The collections of this site, without their files."""

    def __init__(self) -> None:
        self._known: dict[str, Collection] = {}

    def merge(self, collection: Collection) -> bool:
        """Take a report; return whether it was news."""
        known = self._known.get(collection.id)
        if known is not None and collection.revision <= known.revision:
            return False
        self._known[collection.id] = collection.model_copy(update={"files": []})
        return True

    def settle(self, before: dict[str, int], found: set[str]) -> None:
        """Drop what a whole snapshot did not contain and no event has touched since it began."""
        for name, revision in before.items():
            known = self._known.get(name)
            if name not in found and known is not None and known.revision == revision:
                del self._known[name]

    def revisions(self) -> dict[str, int]:
        """Return what is known now."""
        return {name: collection.revision for name, collection in self._known.items()}

    def page(self, *, limit: int, after: str | None) -> tuple[list[Collection], str | None]:
        """Return a page by id and the id to go on from."""
        names = sorted(name for name in self._known if after is None or name > after)
        items = [self._known[name] for name in names[:limit]]
        return items, items[-1].id if len(names) > limit else None


class Projection:
    """Everything in memory; `settled` once a whole snapshot was read."""

    def __init__(self, *, max_ended_labs: int) -> None:
        self.labs = LabsInMemory(max_ended=max_ended_labs)
        self.readiness = ReadinessInMemory()
        self.collections = CollectionsInMemory()
        self.labs_settled = False
        self.collections_settled = False
        self.settled_at: datetime | None = None

    def settled_now(self) -> None:
        """Note when the last whole snapshot ended."""
        self.settled_at = datetime.now(UTC)
