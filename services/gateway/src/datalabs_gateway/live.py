"""Live events for browsers: a ring of ten minutes for each person, from which a broken connection goes on.

There are no queues: a follower has a place in the rings and reads on from it, so a slow one costs nothing and one
that falls behind the ring is told to read everything again.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from datalabs_gateway.callers import Caller
from datalabs_runtime.clock import Clock
from datalabs_runtime.messaging import Event

PUBLIC_ENTITIES = frozenset({"datalab", "environment", "collection"})
"""Facts about these are shown to everybody."""
OWNED_ENTITIES = frozenset({"lab", "volume", "usage"})
"""Facts about these are shown to their owner."""
SAMPLES = 64
"""Samples that wait for one follower; older ones give way."""
BATCH = 256
"""Events written at once to one follower."""
SESSION_CHECK = timedelta(minutes=1)
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": still here\n\n"
EVERYTHING = "*"
EVERYBODY = "+"
ONE_LAB = "lab "
"""Begins the audience of one lab's own page; no user name has a space."""


@dataclass(slots=True)
class _Ring:
    """The last events of one audience; `floor` is the number of the newest one that was dropped."""

    items: deque[tuple[int, float, bytes]] = field(default_factory=deque)
    floor: int = 0

    def add(self, number: int, at: float, frame: bytes, *, seconds: float, length: int) -> None:
        self.items.append((number, at, frame))
        while len(self.items) > length or self.items[0][1] < at - seconds:
            self.floor = self.items.popleft()[0]

    def after(self, number: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        for item in reversed(self.items):
            if item[0] <= number:
                break
            found.append((item[0], item[2]))
        found.reverse()
        return found


@dataclass(slots=True, eq=False)
class _Follower:
    """One open stream."""

    audiences: tuple[str, ...]
    username: str
    session_id: str
    place: int
    epoch: str
    samples_wanted: bool
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    samples: deque[bytes] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    ended: bool = False


class Live:
    """All open event streams and what they can resume from."""

    def __init__(
        self,
        *,
        clock: Clock,
        still_holds: Callable[[Caller], Awaitable[bool]],
        ring_seconds: float,
        ring_length: int,
        heartbeat_seconds: float,
    ) -> None:
        self._clock = clock
        self._still_holds = still_holds
        self._seconds = ring_seconds
        self._length = ring_length
        self._heartbeat = heartbeat_seconds
        self._rings: dict[str, _Ring] = {}
        self._floor = 0
        self._number = 0
        self._epoch = _new_epoch()
        self._followers: dict[str, set[_Follower]] = {}
        self._closing = False
        self.joined = asyncio.Event()
        """Set when somebody begins to follow, or to look at figures."""

    @property
    def followers(self) -> int:
        """How many streams are open."""
        return len({follower for group in self._followers.values() for follower in group})

    def audiences(self) -> set[str]:
        """Return the people whose figures somebody looks at, and `*` when somebody looks at everybody's.

        A page on a lab's own origin follows that lab alone and shows no figures.
        """
        names = {
            name
            for name, group in self._followers.items()
            if any(follower.samples_wanted for follower in group)
        }
        return {name for name in names if not name.startswith(ONE_LAB)} - {EVERYBODY}

    def publish(self, event: Event) -> None:
        """Put a fact into the rings of those who may see it and wake their streams."""
        audiences = [EVERYTHING]
        if event.entity in PUBLIC_ENTITIES:
            audiences.append(EVERYBODY)
        elif event.entity in OWNED_ENTITIES:
            owner = _owner_of(event)
            if owner is not None:
                audiences.append(owner)
        if event.entity == "lab" and (alone := _lab_audience(event.entity_id)) in self._followers:
            audiences.append(alone)
        self._number += 1
        frame = b"id: %b-%d\nevent: %b\ndata: %b\n\n" % (
            self._epoch.encode(),
            self._number,
            event.entity.encode(),
            _data(event),
        )
        at = self._clock.now().timestamp()
        for audience in audiences:
            ring = self._rings.get(audience)
            if ring is None:
                ring = self._rings[audience] = _Ring(floor=self._floor)
            ring.add(self._number, at, frame, seconds=self._seconds, length=self._length)
            for follower in self._followers.get(audience, ()):
                follower.woken.set()

    def sample(self, owner: str, payload: bytes) -> None:
        """Hand a measurement to its owner's streams; it has no id and is never repeated."""
        followers = self._followers.get(owner, set()) | self._followers.get(EVERYTHING, set())
        followers = {follower for follower in followers if follower.samples_wanted}
        if not followers:
            return
        frame = b"event: sample\ndata: %b\n\n" % payload.replace(b"\n", b" ")
        for follower in followers:
            follower.samples.append(frame)
            follower.woken.set()

    def want_samples(self, caller: Caller, stream: str, *, wanted: bool) -> bool:
        """Let one of the caller's streams have figures or not; False when they have no such stream here."""
        group = self._followers.get(caller.username, set()) | self._followers.get(EVERYTHING, set())
        for follower in group:
            if follower.id == stream and follower.username == caller.username:
                follower.samples_wanted = wanted
                if wanted:
                    self.joined.set()
                else:
                    follower.samples.clear()
                return True
        return False

    def reset(self) -> None:
        """Events may have been missed: every follower must read everything again."""
        self._epoch = _new_epoch()
        self._rings.clear()
        self._floor = self._number
        for group in self._followers.values():
            for follower in group:
                follower.woken.set()

    def end_session(self, session_id: str) -> None:
        """Close the streams of a session that has ended."""
        for group in self._followers.values():
            for follower in group:
                if follower.session_id == session_id:
                    follower.ended = True
                    follower.woken.set()

    def close(self) -> None:
        """Close all streams; browsers come back by themselves."""
        self._closing = True
        for group in self._followers.values():
            for follower in group:
                follower.woken.set()

    def prune(self) -> None:
        """Drop rings in which nothing young is left."""
        oldest = self._clock.now().timestamp() - self._seconds
        for audience, ring in list(self._rings.items()):
            while ring.items and ring.items[0][1] < oldest:
                ring.floor = ring.items.popleft()[0]
            if not ring.items and audience not in self._followers:
                self._floor = max(self._floor, ring.floor)
                del self._rings[audience]

    async def stream(
        self, caller: Caller, *, last_event_id: str | None, everything: bool, samples: bool = True
    ) -> AsyncIterator[bytes]:
        """Yield the frames of one caller until their session ends or the gateway stops."""
        audiences = (EVERYTHING,) if everything else (EVERYBODY, caller.username)
        async for frames in self._stream(caller, audiences, last_event_id, samples=samples):
            yield frames

    def stream_of_lab(self, caller: Caller, lab_id: str) -> AsyncIterator[bytes]:
        """Yield the frames of one lab; nothing is kept to go on from, so whoever comes back reads the lab again."""
        return self._stream(caller, (_lab_audience(lab_id),), None, samples=False)

    async def _stream(
        self, caller: Caller, audiences: tuple[str, ...], last_event_id: str | None, *, samples: bool
    ) -> AsyncIterator[bytes]:
        resumed = self._place_of(last_event_id, audiences)
        follower = _Follower(
            audiences=audiences,
            username=caller.username,
            session_id=caller.session_id,
            place=self._number if resumed is None else resumed,
            epoch=self._epoch,
            samples_wanted=samples,
        )
        for audience in audiences:
            self._followers.setdefault(audience, set()).add(follower)
        self.joined.set()
        try:
            yield RETRY
            if last_event_id and resumed is None:
                yield self._marker("reset", self._number, follower.id)
            else:
                yield self._marker("hello", follower.place, follower.id)
            async for frames in self._frames(follower, caller):
                yield frames
        finally:
            for audience in audiences:
                group = self._followers.get(audience)
                if group is not None:
                    group.discard(follower)
                    if not group:
                        del self._followers[audience]

    async def _frames(self, follower: _Follower, caller: Caller) -> AsyncIterator[bytes]:
        checked, epoch = self._clock.now(), ""
        while not self._closing:
            now = self._clock.now()
            if now - checked > SESSION_CHECK or epoch != self._epoch:
                # The event of a session's end may have been among those that were missed, or just before this began.
                follower.ended = follower.ended or not await self._still_holds(caller)
                checked, epoch = now, self._epoch
            if follower.ended or caller.expires_at <= now:
                yield b"event: session_ended\ndata: {}\n\n"
                return
            follower.woken.clear()
            frames = self._next(follower)
            if frames:
                yield b"".join(frames)
                continue
            try:
                async with asyncio.timeout(self._heartbeat):
                    await follower.woken.wait()
            except TimeoutError:
                yield HEARTBEAT

    def _next(self, follower: _Follower) -> list[bytes]:
        """Return what this follower has not seen; all of it synchronous, so nothing comes in between."""
        if follower.epoch != self._epoch or self._fell_behind(follower):
            follower.epoch, follower.place = self._epoch, self._number
            follower.samples.clear()
            return [self._marker("reset", self._number, follower.id)]
        waiting: list[tuple[int, bytes]] = []
        for audience in follower.audiences:
            ring = self._rings.get(audience)
            if ring is not None:
                waiting += ring.after(follower.place)
        if len(follower.audiences) > 1:
            waiting.sort()
        del waiting[BATCH:]
        frames = [frame for _, frame in waiting]
        if waiting:
            follower.place = waiting[-1][0]
        frames += follower.samples
        follower.samples.clear()
        return frames

    def _fell_behind(self, follower: _Follower) -> bool:
        rings = (self._rings.get(audience) for audience in follower.audiences)
        return any(ring is not None and ring.floor > follower.place for ring in rings)

    def _place_of(self, last_event_id: str | None, audiences: tuple[str, ...]) -> int | None:
        """Return from where to go on, None when the ring does not reach back so far or the id is not ours."""
        epoch, _, digits = (last_event_id or "").rpartition("-")
        if epoch != self._epoch or not digits.isascii() or not digits.isdecimal():
            return None
        number = int(digits[:20])
        floors = (ring.floor if (ring := self._rings.get(name)) else self._floor for name in audiences)
        return number if max(floors) <= number <= self._number else None

    def _marker(self, name: str, number: int, stream: str) -> bytes:
        document = {"epoch": self._epoch, "at": self._clock.now().isoformat(), "stream": stream}
        text = json.dumps(document)
        return f"id: {self._epoch}-{number}\nevent: {name}\ndata: {text}\n\n".encode()


def _new_epoch() -> str:
    return secrets.token_hex(4)


def _lab_audience(lab_id: str) -> str:
    return ONE_LAB + lab_id


def _owner_of(event: Event) -> str | None:
    data = event.data
    owner = data.get("owner") if isinstance(data, dict) else getattr(data, "owner", None)
    return owner if isinstance(owner, str) else None


def _data(event: Event) -> bytes:
    trace = event.headers.get("traceparent", "").split("-")
    head = {
        "id": event.id,
        "type": event.type_name,
        "entity": event.entity,
        "entity_id": event.entity_id,
        "fact": event.fact,
        "time": event.time.isoformat(),
        "revision": event.revision,
        "trace_id": trace[1] if len(trace) == 4 else None,  # noqa: PLR2004 - W3C's four fields
    }
    body = event.raw if b"\n" not in event.raw else json.dumps(json.loads(event.raw)).encode()
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"data":' + body + b"}"
