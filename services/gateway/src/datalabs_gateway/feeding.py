"""Keeps memory true: facts as they come, whole snapshots at the start and whenever some may have been missed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from datalabs_contracts.base import PageQuery
from datalabs_contracts.datalabs import CollectionFact, ReadinessFact
from datalabs_contracts.labs import LabFact, LabsQuery
from datalabs_contracts.people import PersonFact, SessionFact
from datalabs_contracts.problems import ProblemError
from datalabs_contracts.rpc import LIST_COLLECTIONS, LIST_LABS, LIST_READINESS
from datalabs_gateway.asking import Asking
from datalabs_gateway.catalogue import Catalogue
from datalabs_gateway.entries import Entries
from datalabs_gateway.live import Live
from datalabs_gateway.projection import Projection
from datalabs_gateway.sessions import Sessions
from datalabs_runtime.messaging import Event

PAGE = 200
TRY_AGAIN = 0.5
"""Seconds before a snapshot that a service did not give is asked for again; doubled up to the longest."""
LONGEST = 5.0
PAGE_PATIENCE = 5.0


class Feed:
    """Carries facts into memory and to live streams; a part that reads the snapshots in the background."""

    name = "feed"

    def __init__(
        self,
        *,
        ask: Asking,
        projection: Projection,
        catalogue: Catalogue,
        sessions: Sessions,
        entries: Entries,
        live: Live,
    ) -> None:
        self._ask = ask
        self._projection = projection
        self._catalogue = catalogue
        self._sessions = sessions
        self._entries = entries
        self._live = live
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Begin to read the snapshots; requests are answered meanwhile by asking services."""
        self._begin()

    async def aclose(self) -> None:
        """Stop reading."""
        for task in (*self._tasks, *self._background):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    async def settled(self) -> None:
        """Wait until the snapshots that are being read are in memory."""
        await asyncio.gather(*self._tasks)

    async def fact(self, event: Event) -> None:
        """Take one fact: memory first, so that whoever hears of it reads it."""
        match event.data:
            case LabFact(lab=lab):
                if self._projection.labs.merge(lab):
                    self._entries.lab_changed(lab)
            case ReadinessFact(readiness=readiness):
                self._projection.readiness.merge(readiness)
            case CollectionFact(collection=collection):
                self._projection.collections.merge(collection)
                self._catalogue.changed()
            case SessionFact() as session:
                self._sessions.session_fact(event.fact, session)
            case PersonFact(person=person):
                self._sessions.person_changed(person.id, person.revision)
        if event.entity == "datalab":
            self._catalogue.changed()
        self._live.publish(event)

    async def sample(self, subject: str, payload: bytes) -> None:
        """Take a measurement (`live.lab.<id>.sample`) to its lab's owner."""
        entry = self._projection.labs.entry(subject.split(".")[2])
        if entry is not None:
            self._live.sample(entry.lab.owner, payload)

    async def missed(self) -> None:
        """Facts may have been missed: believe nothing that only they would have changed, and read anew."""
        self._log.info("feed.reset")
        self._sessions.forget_all()
        self._entries.forget_all()
        self._catalogue.changed()
        self._begin()

    def session_ended(self, session_id: str) -> None:
        """Close the streams and the entries to labs of a session that has ended."""
        self._live.end_session(session_id)
        self._entries.drop_session(session_id)
        task = asyncio.create_task(self._forget_entries(session_id), name="forget entries")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _forget_entries(self, session_id: str) -> None:
        try:
            await self._entries.forget_session(session_id)
        except ProblemError as error:
            # They lead nowhere without their session; pruning removes them later.
            self._log.warning("feed.entries_not_forgotten", session=session_id, code=error.code)

    def _begin(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = [asyncio.create_task(self._read_all(), name="snapshots")]

    async def _read_all(self) -> None:
        began_settled = self._projection.settled_at is not None
        await asyncio.gather(
            self._until_read("labs", self._read_labs),
            self._until_read("readiness", self._read_readiness),
            self._until_read("collections", self._read_collections),
        )
        self._projection.settled_now()
        self._catalogue.changed()
        if began_settled:
            # Only now: whoever reads again on being told so must not read from before the gap.
            self._live.reset()
        self._log.info("feed.settled", labs=len(self._projection.labs))

    async def _until_read(self, what: str, read: Callable[[], Awaitable[None]]) -> None:
        pause = TRY_AGAIN
        while True:
            try:
                await read()
            except ProblemError as error:
                self._log.info("feed.snapshot_later", what=what, code=error.code, seconds=pause)
            except Exception:  # noqa: BLE001 - the edge of a loop, which goes on
                self._log.exception("feed.snapshot_failed", what=what)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)

    async def _read_labs(self) -> None:
        labs = self._projection.labs
        before, found, cursor = labs.revisions(), set[str](), None
        while True:
            query = LabsQuery(include_ended=True, limit=PAGE, cursor=cursor)
            page = await self._ask(LIST_LABS, query, timeout=PAGE_PATIENCE)
            for lab in page.items:
                found.add(lab.id)
                labs.merge(lab)
            cursor = page.next
            if cursor is None:
                break
        labs.settle(before, found)
        self._projection.labs_settled = True

    async def _read_readiness(self) -> None:
        cursor = None
        while True:
            page = await self._ask(
                LIST_READINESS, PageQuery(limit=PAGE, cursor=cursor), timeout=PAGE_PATIENCE
            )
            for readiness in page.items:
                self._projection.readiness.merge(readiness)
            cursor = page.next
            if cursor is None:
                return

    async def _read_collections(self) -> None:
        collections = self._projection.collections
        before, found, cursor = collections.revisions(), set[str](), None
        while True:
            page = await self._ask(
                LIST_COLLECTIONS, PageQuery(limit=PAGE, cursor=cursor), timeout=PAGE_PATIENCE
            )
            for collection in page.items:
                found.add(collection.id)
                collections.merge(collection)
            cursor = page.next
            if cursor is None:
                break
        collections.settle(before, found)
        self._projection.collections_settled = True
