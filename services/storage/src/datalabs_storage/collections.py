"""Collections: which there are, their installation in the background, and where they are mounted from."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.datalabs import Collection, CollectionFact, CollectionRef
from datalabs_contracts.events import COLLECTION_CHANGED
from datalabs_contracts.metadata import CollectionMeta, CollectionSource
from datalabs_contracts.volumes import Mount
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.outbox import Outbox
from datalabs_storage import installation
from datalabs_storage.descriptions import read_descriptions, signature
from datalabs_storage.disk import Disk
from datalabs_storage.errors import (
    DiskFullError,
    InstallationError,
    NotYetError,
    UnknownCollectionError,
    VolumeUnavailableError,
)
from datalabs_storage.folders import is_real_folder
from datalabs_storage.models import Description, Layout
from datalabs_storage.packages import Packages
from datalabs_storage.removal import remove_tree
from datalabs_storage.store import Store

SELF = "service:storage"
OWNER = "platform"
WAITING = "Waiting to be installed."
INSTALLING = "Being installed."
SOON = 3.0
"""Seconds after which a launch may ask again for a collection that is being installed."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Times:
    """How often things are looked at; see the settings of the same names."""

    verify_every: timedelta
    retry_first: timedelta
    retry_longest: timedelta
    wait: timedelta
    replaced_kept: timedelta


@dataclass
class _State:
    """What this process knows of one collection."""

    description: Description
    available: bool = False
    message: str = WAITING
    verified_at: datetime | None = None
    failures: int = 0
    retry_at: datetime | None = None


class Collections:
    """Installs collections one after the other, smallest first, and keeps an eye on them."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        layout: Layout,
        disk: Disk,
        packages: Packages,
        roots: list[Path],
        times: Times,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._layout = layout
        self._disk = disk
        self._packages = packages
        self._roots = roots
        self._times = times
        self._signature: tuple[tuple[str, int, int], ...] | None = None
        self._states: dict[str, _State] = {}
        self._changed = asyncio.Condition()

    async def refresh(self) -> None:
        """Look at descriptions and files; install what is missing. Called every few seconds."""
        self._layout.collections.mkdir(mode=0o755, parents=True, exist_ok=True)
        await self._read()
        for state in list(self._states.values()):
            await self._verify(state)
        with _alone(self._layout.collections / ".lock") as alone:
            if not alone:
                return
            for state in sorted(self._states.values(), key=lambda each: _bytes(each.description.meta)):
                if not state.available and (state.retry_at is None or state.retry_at <= self._clock.now()):
                    await self._install(state)
            kept_since = self._clock.now() - self._times.replaced_kept
            for former in await asyncio.to_thread(installation.replaced_before, self._layout, kept_since):
                await asyncio.to_thread(remove_tree, former)

    async def mount(self, collection_id: str) -> Mount:
        """Return the read-only mount of a collection, waiting a little if it is about to be there.

        Raises `UnknownCollectionError`, `VolumeUnavailableError`, `NotYetError`.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._times.wait.total_seconds()), self._changed:
                await self._changed.wait_for(lambda: self._settled(collection_id))
        state = self._states.get(collection_id)
        if state is None:
            if self._signature is None:
                raise NotYetError("The collections are still being looked at.", retry_after=SOON)
            raise UnknownCollectionError(collection_id)
        place = self._layout.collections / collection_id
        if state.available and not is_real_folder(place):
            state.verified_at = None
            await self._set(state, available=False, message="Its files are gone.")
        if not state.available:
            detail = f"The collection {collection_id} is not available: {state.message}"
            if state.message in {WAITING, INSTALLING}:
                raise NotYetError(detail, retry_after=SOON)
            raise VolumeUnavailableError(detail)
        return Mount(source=str(place), target=f"/data/{collection_id}", read_only=True)

    async def list(self, query: PageQuery) -> Page[Collection]:
        """Return collections by id, without their files. Raises `ProblemError` for a foreign cursor."""
        after = decode_cursor("collections", query.cursor, str)[0] if query.cursor else ""
        async with self._database.reading() as session:
            found = await Store(session).collections_after(after, query.limit + 1)
        more = len(found) > query.limit
        items = found[: query.limit]
        return Page(items=items, next=encode_cursor("collections", items[-1].id) if more else None)

    async def get(self, reference: CollectionRef) -> Collection:
        """Return one collection with its files. Raises `UnknownCollectionError`."""
        async with self._database.reading() as session:
            stored = await Store(session).collection(reference.id)
        if stored is None or stored.withdrawn_at is not None:
            raise UnknownCollectionError(reference.id)
        return stored.collection

    def _settled(self, collection_id: str) -> bool:
        state = self._states.get(collection_id)
        if state is None:
            return self._signature is not None
        return state.available or state.retry_at is not None

    async def _read(self) -> None:
        now = await asyncio.to_thread(signature, self._roots)
        if now == self._signature:
            return
        found = await asyncio.to_thread(read_descriptions, self._roots)
        async with self._database.reading() as session:
            stored = await Store(session).collection_ids()
        if self._roots and not any(root.is_dir() for root in self._roots):
            log.warning("collections.no_content", roots=[str(root) for root in self._roots])
            return
        for collection_id, description in found.items():
            known = self._states.get(collection_id)
            if known is None or known.description != description:
                self._states[collection_id] = _State(description=description)
        for collection_id in (stored | set(self._states)) - set(found):
            self._states.pop(collection_id, None)
            await self._withdraw(collection_id)
        self._signature = now
        async with self._changed:
            self._changed.notify_all()

    async def _verify(self, state: _State) -> None:
        """Compare sizes and times; where they differ, read everything; where that differs, it is not available."""
        now = self._clock.now()
        if state.verified_at is not None and now - state.verified_at < self._times.verify_every:
            return
        meta, place = state.description.meta, self._layout.collections / state.description.meta.id
        good = await asyncio.to_thread(installation.is_intact, self._layout, meta)
        if not good and is_real_folder(place):
            bad = await asyncio.to_thread(installation.damaged, place, meta)
            good = not bad
            if good:
                await asyncio.to_thread(installation.note, self._layout, meta)
            else:
                log.warning("collections.damaged", collection=meta.id, files=[file.path for file in bad][:20])
        state.verified_at = now if good else None
        if good:
            state.failures, state.retry_at = 0, None
            await self._set(state, available=True, message="")
        elif state.available or state.retry_at is None:
            await self._set(state, available=False, message=WAITING)

    async def _install(self, state: _State) -> None:
        meta = state.description.meta
        await self._set(state, available=False, message=INSTALLING)
        started = self._clock.now()
        try:
            self._disk.check(needed_bytes=_bytes(meta))
            with installation.workshop(self._layout, meta.id) as workshop:
                sources = await self._gather(state.description, workshop)
                await asyncio.to_thread(installation.assemble, workshop / "new", meta, sources)
                await asyncio.to_thread(
                    installation.put_in_place, self._layout, meta, workshop / "new", now=started
                )
        except (InstallationError, DiskFullError, OSError) as error:
            state.failures += 1
            wait = min(self._times.retry_first * 2 ** min(state.failures - 1, 20), self._times.retry_longest)
            state.retry_at = self._clock.now() + wait
            log.warning(
                "collections.not_installed", collection=meta.id, reason=str(error), failures=state.failures
            )
            await self._set(state, available=False, message=_sentence(error))
            return
        state.verified_at, state.failures, state.retry_at = self._clock.now(), 0, None
        log.info("collections.installed", collection=meta.id, bytes=_bytes(meta))
        await self._set(state, available=True, message="")

    async def _gather(self, description: Description, workshop: Path) -> dict[str, Path]:
        """Return where each file is now: in the former installation, in a folder, or fetched in a package."""
        meta = description.meta
        place = self._layout.collections / meta.id
        sources: dict[str, Path] = {}
        missing: dict[tuple[str, str], list[CollectionSource]] = {}
        for file in meta.files:
            if file.folder is not None:
                sources[file.path] = description.folder / file.folder / file.member
            elif await asyncio.to_thread(installation.is_file_good, place / file.path, file):
                sources[file.path] = place / file.path
            else:
                missing.setdefault((file.package or "", file.archive), []).append(file)
        for number, ((package, archive), files) in enumerate(missing.items()):
            into = workshop / f"package-{number}"
            into.mkdir()
            found = await self._packages.fetch(package, archive, [file.member for file in files], into)
            sources.update({file.path: found[file.member] for file in files})
        return sources

    async def _set(self, state: _State, *, available: bool, message: str) -> None:
        """Take over a new condition: in memory, in the database and, if it is news, as an event."""
        state.available, state.message = available, message
        now = self._clock.now()
        async with self._database.transaction() as session:
            store = Store(session)
            stored = await store.collection(state.description.meta.id, lock=True)
            revision = stored.collection.revision if stored else 0
            as_stored = state.description.collection(available=available, message=message, revision=revision)
            if stored is None or stored.withdrawn_at is not None or stored.collection != as_stored:
                fresh = as_stored.model_copy(update={"revision": revision + 1})
                await store.put_collection(fresh, at=now, withdrawn_at=None)
                self._tell(session, fresh)
        async with self._changed:
            self._changed.notify_all()

    async def _withdraw(self, collection_id: str) -> None:
        """Take a collection whose description is gone off the list; its files stay for labs that mount them."""
        now = self._clock.now()
        async with self._database.transaction() as session:
            store = Store(session)
            stored = await store.collection(collection_id, lock=True)
            if stored is None or stored.withdrawn_at is not None:
                return
            last = stored.collection.model_copy(
                update={
                    "available": False,
                    "message": "Withdrawn by the operator.",
                    "revision": stored.collection.revision + 1,
                }
            )
            await store.put_collection(last, at=now, withdrawn_at=now)
            self._tell(session, last)

    def _tell(self, session: AsyncSession, collection: Collection) -> None:
        told = collection.model_copy(update={"files": []})
        fact = CollectionFact(collection=told, revision=told.revision, owner=OWNER, actor=SELF)
        self._outbox.add(session, COLLECTION_CHANGED, told.id, fact, revision=told.revision)


def _bytes(meta: CollectionMeta) -> int:
    return sum(file.bytes for file in meta.files)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"Its files could not be written: {error.strerror or type(error).__name__}."
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Tell whether no other process installs collections into this folder at the moment."""
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(file)
