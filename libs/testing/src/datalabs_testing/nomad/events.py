"""The event stream: a bounded buffer of what changed, and those who follow it."""

import asyncio
import bisect
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datalabs_testing.nomad.quick_json import dumps

ALL = "*"


@dataclass(frozen=True)
class Event:
    """One change of one thing."""

    topic: str
    type: str
    key: str
    namespace: str
    text: str
    filter_keys: tuple[str, ...] | None = None

    @staticmethod
    def of(
        topic: str,
        kind: str,
        key: str,
        namespace: str,
        payload: Mapping[str, Any],
        *,
        index: int,
        filter_keys: tuple[str, ...] | None = None,
    ) -> "Event":
        """Return an event written down at once: what it tells of goes on changing."""
        text = dumps(
            {
                "FilterKeys": None if filter_keys is None else list(filter_keys),
                "Index": index,
                "Key": key,
                "Namespace": namespace,
                "Payload": payload,
                "Topic": topic,
                "Type": kind,
            }
        )
        return Event(topic, kind, key, namespace, text, filter_keys)


@dataclass(frozen=True)
class Entry:
    """Events that one line has; one write may make two lines with the same index."""

    index: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Wish:
    """What a follower wants: topics with their keys, namespaces (empty: all)."""

    topics: Mapping[str, frozenset[str]]
    namespaces: frozenset[str]

    def takes(self, event: Event) -> bool:
        """Return whether an event is for this follower."""
        keys = self.topics.get(event.topic) or self.topics.get(ALL)
        if keys is None:
            return False
        if event.namespace and self.namespaces and event.namespace not in self.namespaces:
            return False
        return ALL in keys or event.key in keys or not keys.isdisjoint(event.filter_keys or ())


class Buffer:
    """The last entries, each with a number of its own that never comes again."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: deque[Entry] = deque()
        self._first = 0
        self._generation = 0
        self._news = asyncio.Event()
        self.followers = 0

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep entries and wake who waits."""
        for entry in entries:
            if entry.events:
                self._entries.append(entry)
        while len(self._entries) > self._size:
            self._entries.popleft()
            self._first += 1
        self._news.set()
        self._news = asyncio.Event()

    def cut(self, *, forget: bool = False) -> None:
        """End all streams; with `forget` the buffer is empty, as after a restart of the server."""
        self._generation += 1
        if forget:
            self._first += len(self._entries)
            self._entries.clear()
        self._news.set()
        self._news = asyncio.Event()

    def start(self, index: int) -> "Cursor":
        """Return a place to read from: the entry with that index or the closest one, itself included; 0: the oldest."""
        if index <= 0 or not self._entries:
            return Cursor(self, self._first, self._generation)
        indexes = [entry.index for entry in self._entries]
        at = bisect.bisect_left(indexes, index)
        if at == len(indexes):
            at = bisect.bisect_left(indexes, indexes[-1])
        return Cursor(self, self._first + at, self._generation)

    def at(self, number: int) -> Entry | None:
        """Return an entry by its number."""
        place = number - self._first
        return self._entries[place] if 0 <= place < len(self._entries) else None

    def lost(self, number: int) -> bool:
        """Return whether an entry was dropped before it was read."""
        return number < self._first

    @property
    def generation(self) -> int:
        """How often all streams were ended."""
        return self._generation

    @property
    def news(self) -> asyncio.Event:
        """Set at the next change."""
        return self._news


class Cursor:
    """One follower's place in the buffer."""

    def __init__(self, buffer: Buffer, number: int, generation: int) -> None:
        self._buffer = buffer
        self._number = number
        self._generation = generation

    @property
    def ended(self) -> bool:
        """Whether the server ends this stream: it was too slow, or all were cut."""
        return self._generation != self._buffer.generation or self._buffer.lost(self._number)

    def read(self, wish: Wish) -> str | None:
        """Return the next line that is wanted; None: nothing new, or the stream has ended."""
        while not self.ended:
            entry = self._buffer.at(self._number)
            if entry is None:
                return None
            self._number += 1
            wanted = [event.text for event in entry.events if wish.takes(event)]
            if wanted:
                return f'{{"Events":[{",".join(wanted)}],"Index":{entry.index}}}\n'
        return None

    async def wait(self, seconds: float) -> None:
        """Wait for news, that long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._buffer.news.wait()
        except TimeoutError:
            return
