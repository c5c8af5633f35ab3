"""Brings the folders of datalabs into the catalogue, again and again, so that it shows what they hold."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_catalogue import sources
from datalabs_catalogue.errors import BrokenEntryError
from datalabs_catalogue.models import Entry
from datalabs_catalogue.reading import META, read_entry
from datalabs_catalogue.sizes import Sizes
from datalabs_catalogue.sources import Sources
from datalabs_catalogue.store import Store
from datalabs_contracts.datalabs import Datalab, DatalabFact
from datalabs_contracts.events import DATALAB_PUBLISHED, DATALAB_WITHDRAWN, EventType
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.leases import Lease
from datalabs_runtime.outbox import Outbox

SELF = "service:catalogue"
OWNER = "platform"

Signature = tuple[tuple[str, int, int], ...]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A folder as it was looked at last, and the slug it has the catalogue show."""

    signature: Signature
    slug: str | None


class Importer:
    """Reads folders that changed; of replicas only the holder of the lease does."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        lease: Lease,
        roots: list[Path],
        kept: Sources,
        sizes: Sizes,
        largest: int,
        kept_for: timedelta,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._lease = lease
        self._roots = roots
        self._kept = kept
        self._sizes = sizes
        self._largest = largest
        self._kept_for = kept_for
        self._seen: dict[Path, _Seen] = {}
        self._filled = False

    async def check(self) -> str | None:
        """For readiness: None once there is a catalogue to show, be it from an earlier run or another replica."""
        if not self._filled:
            async with self._database.reading() as session:
                self._filled = bool(await Store(session).offered_folders())
        return None if self._filled else "the folders of datalabs are being read for the first time"

    async def refresh(self) -> None:
        """Import what is new or changed, withdraw what is gone. Cheap when nothing happened."""
        if not self._lease.held:
            # Whoever led meanwhile may have imported something else: begin anew, at once when it is our turn.
            self._seen.clear()
            await self._lease.wait()
        unreadable: set[str] = set()
        present: dict[Path, Path] = {}
        for root in self._roots:
            folders = await asyncio.to_thread(_folders, root)
            if folders is None:
                unreadable.add(str(root))
                log.warning("catalogue.no_content", root=str(root))
            for folder in folders or []:
                present.setdefault(folder, root)
        for folder, root in present.items():
            await self._look_at(folder, root, set(present))
        await self._clear_away(present, unreadable)
        self._filled = True

    async def _look_at(self, folder: Path, root: Path, present: set[Path]) -> None:
        try:
            now = await asyncio.to_thread(sources.signature, folder)
        except OSError as error:
            await self._note(folder, f"cannot be read: {error.strerror}")
            return
        seen = self._seen.get(folder)
        if seen is not None and seen.signature == now:
            return
        slug = seen.slug if seen else None
        try:
            digest = await asyncio.to_thread(sources.digest_of, folder, largest=self._largest)
            entry = await asyncio.to_thread(
                read_entry, folder, root=root, digest=digest, sizes=self._sizes.names
            )
            self._refuse_second(entry, present)
            slug = entry.slug
            await self._take(entry)
            problem = "; ".join(entry.remarks) or None
        except BrokenEntryError as error:
            problem = str(error)
        except OSError as error:
            problem = f"cannot be read: {error.strerror or type(error).__name__}"
        await self._note(folder, problem)
        self._seen[folder] = _Seen(signature=now, slug=slug)

    def _refuse_second(self, entry: Entry, present: set[Path]) -> None:
        for folder, seen in self._seen.items():
            if seen.slug == entry.slug and folder != entry.folder and folder in present:
                raise BrokenEntryError(f"{entry.slug} is taken by {folder}")

    async def _take(self, entry: Entry) -> None:
        """Write an entry, unless it is already there as it is."""
        place = await asyncio.to_thread(
            self._kept.keep, entry.folder, slug=entry.slug, version=entry.version, digest=entry.digest
        )
        specification = entry.specification.model_copy(update={"source": str(place)})
        now = self._clock.now()
        async with self._database.transaction() as session:
            store = Store(session)
            stored = await store.datalab(entry.slug, lock=True)
            version = await store.version(entry.slug, entry.version)
            if (
                stored is not None
                and stored.withdrawn_at is None
                and stored.datalab.latest_version == entry.version
                and (stored.digest, stored.folder) == (entry.digest, str(entry.folder))
                and version is not None
                and version.specification == specification
            ):
                return
            card = await store.put_datalab(entry, at=now)
            await store.put_version(
                slug=entry.slug,
                name=entry.version,
                digest=entry.digest,
                specification=specification,
                at=now,
            )
            self._tell(session, DATALAB_PUBLISHED, card)
        log.info("catalogue.imported", datalab=entry.slug, version=entry.version, revision=card.revision)

    async def _clear_away(self, present: dict[Path, Path], unreadable: set[str]) -> None:
        """Withdraw entries whose folder is gone; one whose root cannot be read is left as it is."""
        for folder in set(self._seen) - set(present):
            del self._seen[folder]
        shown = {str(folder) for folder in present}
        taken = {seen.slug for seen in self._seen.values()}
        async with self._database.reading() as session:
            store = Store(session)
            offered = await store.offered_folders()
            troubled = await store.problems()
        for slug, (origin, place) in offered.items():
            if place not in shown and slug not in taken and origin not in unreadable:
                await self._withdraw(slug)
        for problem in troubled:
            if problem.folder not in shown and not any(
                Path(problem.folder).is_relative_to(root) for root in unreadable
            ):
                await self._note(Path(problem.folder), None)

    async def clear_sources(self) -> None:
        """Remove copies of files that no version has named for long."""
        async with self._database.reading() as session:
            needed = await Store(session).sources()
        await asyncio.to_thread(self._kept.clear, needed, before=self._clock.now() - self._kept_for)

    async def _withdraw(self, slug: str) -> None:
        async with self._database.transaction() as session:
            card = await Store(session).withdraw(slug, at=self._clock.now())
            if card is not None:
                self._tell(session, DATALAB_WITHDRAWN, card)
                log.info("catalogue.withdrawn", datalab=slug, revision=card.revision)

    async def _note(self, folder: Path, problem: str | None) -> None:
        if problem is not None:
            log.warning("catalogue.broken_entry", folder=str(folder), problem=problem)
        async with self._database.transaction() as session:
            await Store(session).note_problem(str(folder), problem, at=self._clock.now())

    def _tell(self, session: AsyncSession, event: EventType, card: Datalab) -> None:
        fact = DatalabFact(datalab=card, revision=card.revision, owner=OWNER, actor=SELF)
        self._outbox.add(session, event, card.slug, fact, revision=card.revision)


def _folders(root: Path) -> list[Path] | None:
    """Return the folders of a content root that offer something, or None when the root cannot be read."""
    try:
        return [
            folder
            for folder in sorted((root / "datalabs").iterdir())
            if folder.is_dir() and not folder.name.startswith(".") and (folder / META).exists()
        ]
    except FileNotFoundError:
        # A root may hold collections only; one that is away altogether may come back.
        return [] if root.is_dir() else None
    except OSError:
        return None
