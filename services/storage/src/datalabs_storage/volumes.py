"""Volumes: homes, scratch folders, what is mounted for an attempt, what they hold."""

import asyncio
import builtins
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.base import Nothing
from datalabs_contracts.events import VOLUME_CREATED, VOLUME_MEASURED, VOLUME_RELEASED, EventType
from datalabs_contracts.ids import new_lab_id
from datalabs_contracts.volumes import (
    Mount,
    PreparedVolumes,
    PrepareVolumes,
    ReleaseVolumes,
    Volume,
    VolumeFact,
    VolumeKind,
    Volumes,
    VolumesQuery,
)
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database, of_one
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.outbox import Outbox
from datalabs_runtime.together import Together
from datalabs_storage.accounts import keep_account
from datalabs_storage.collections import Collections
from datalabs_storage.disk import Disk
from datalabs_storage.errors import StrangeFolderError, VolumeUnavailableError
from datalabs_storage.folders import make_own
from datalabs_storage.measuring import TooLargeError, measure
from datalabs_storage.models import Layout
from datalabs_storage.removal import ForeignFileSystemError, remove_tree
from datalabs_storage.starters import copy_starters
from datalabs_storage.store import Store, add_scratches

HOME_TARGET = "/media/home"
SCRATCH_TARGET = "/media/scratch"
SELF = "service:storage"
LISTED = 200
"""Volumes of one person in a list; one has a home and a scratch for each lab that is not deleted."""
ANSWER_WITHIN = 2.0
"""Seconds that a list waits for a measuring that it asked for; the figure is stored when it comes later."""

log = structlog.get_logger(__name__)


class VolumeKeeper:
    """Makes, lists, measures and releases volumes; a part that ends its measuring when it is closed."""

    name = "volumes"

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        inbox: Inbox,
        clock: Clock,
        layout: Layout,
        disk: Disk,
        collections: Collections,
        measure_every: timedelta,
        measure_at_most: timedelta,
        home_mib: int = 0,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._inbox = inbox
        self._clock = clock
        self._layout = layout
        self._disk = disk
        self._collections = collections
        self._measure_every = measure_every
        self._measure_at_most = measure_at_most
        self._home_bytes = home_mib * 2**20 or None
        self._homes: dict[str, int] = {}
        self._direct = database.direct()
        self._add_scratch = Together(self._add_scratches, apart=of_one)
        self._make_folder = Together(_make_folders)
        self._keep_account = Together(_keep_accounts)
        self._measuring: dict[str, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)
        self.something_released = asyncio.Event()
        """Set when `sweep` has work; removing a million files takes longer than a reply may."""

    async def prepare(self, request: PrepareVolumes) -> PreparedVolumes:
        """Make all volumes of an attempt ready and return its mounts; repeating it changes nothing.

        Raises `VolumeUnavailableError`, `UnknownCollectionError`, `DiskFullError`.
        """
        unknown = sorted(set(request.volumes) - {VolumeKind.HOME, VolumeKind.SCRATCH})
        if unknown:
            raise VolumeUnavailableError(f"There is no volume {', '.join(unknown)} for you.")
        self._layout.volumes.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._disk.check()
        making: builtins.list[Awaitable[Mount]] = []
        if VolumeKind.HOME in request.volumes:
            making.append(self._home(request))
        if VolumeKind.SCRATCH in request.volumes:
            making.append(self._scratch(request))
        making += [self._collections.mount(name) for name in dict.fromkeys(request.collections)]
        account, *mounts = await asyncio.gather(self._account(request), *making)
        return PreparedVolumes(mounts=mounts, account=str(account))

    async def release(self, request: ReleaseVolumes, *, event_id: str = "", consumer: str = "") -> Nothing:
        """Take a deleted lab's scratch away; repeating it changes nothing. An event's effect happens once."""
        async with self._database.transaction() as session:
            if event_id and not await self._inbox.first_time(session, event_id, consumer):
                return Nothing()
            volume = await Store(session).release_scratch(request.lab_id, at=self._clock.now())
            if volume is not None:
                self._tell(session, VOLUME_RELEASED, volume)
        self.something_released.set()
        return Nothing()

    async def sweep(self) -> None:
        """Remove the folders of released scratches, also what a crash left of that."""
        scratches, retired = self._layout.scratches, self._layout.retired
        names = await asyncio.to_thread(_names, scratches)
        async with self._database.reading() as session:
            released = await Store(session).released(names)
        for name in released:
            async with self._database.transaction() as session:
                if await Store(session).lock_released(name):  # a restart may have taken it into use again
                    # Out of sight at once; removing a million files may take its time.
                    await asyncio.to_thread(_move, scratches / name, retired)
        for name in await asyncio.to_thread(_names, retired):
            try:
                await asyncio.to_thread(remove_tree, retired / name)
            except (OSError, ForeignFileSystemError) as error:
                log.warning("volumes.not_removed", folder=str(retired / name), reason=str(error))

    async def list(self, query: VolumesQuery) -> Volumes:
        """Return somebody's volumes; old figures are renewed in the background, waited for a little if asked to."""
        found = await self._volumes_of(query.owner)
        old = self._clock.now() - self._measure_every
        tasks = [
            self._measure(volume)
            for volume in found
            if volume.measured_at is None or volume.measured_at < old
        ]
        if not tasks or not query.measure:
            return Volumes(items=found)
        await asyncio.wait(tasks, timeout=ANSWER_WITHIN)
        return Volumes(items=await self._volumes_of(query.owner))

    async def _volumes_of(self, owner: str) -> "builtins.list[Volume]":
        async with self._database.reading() as session:
            found = await Store(session).volumes_of(owner, LISTED)
        return [self._bounded(volume) for volume in found]

    def _bounded(self, volume: Volume) -> Volume:
        """Return a volume with what it should hold at most, as the site says now."""
        if volume.kind is not VolumeKind.HOME:
            return volume
        return volume.model_copy(update={"quota_bytes": self._home_bytes})

    async def start(self) -> None:
        """Nothing to begin: measuring starts when somebody asks."""

    async def aclose(self) -> None:
        """Stop measuring."""
        for task in list(self._measuring.values()):
            task.cancel()
        await asyncio.gather(*self._measuring.values(), return_exceptions=True)

    async def _home(self, request: PrepareVolumes) -> Mount:
        # A home stays for ever, so one that was seen once need not be looked up with every launch.
        if self._homes.get(request.owner) != request.uid:
            async with self._database.reading() as session:
                volume = await Store(session).home(request.owner)
            if volume is None:
                await self._add_home(request)
            elif volume.uid != request.uid:
                raise VolumeUnavailableError(f"The home of {request.owner} belongs to another uid.")
            else:
                self._homes[request.owner] = request.uid
        path = await self._own_folder(self._layout.homes, request.owner, uid=request.uid)
        if request.starters and request.starters_name:
            await self._give_starters(path, request)
        return Mount(source=str(path), target=HOME_TARGET, read_only=False)

    async def _scratch(self, request: PrepareVolumes) -> Mount:
        volume = self._new(VolumeKind.SCRATCH, request.lab_id, request)
        if await self._add_scratch((volume, self._event(VOLUME_CREATED, volume))):
            await self._renew_scratch(request)
        path = await self._own_folder(self._layout.scratches, request.lab_id, uid=request.uid)
        return Mount(source=str(path), target=SCRATCH_TARGET, read_only=False)

    async def _add_scratches(
        self, asked: "builtins.list[tuple[Volume, dict[str, Any]]]"
    ) -> "builtins.list[bool | Exception]":
        """Add what is missing, all at once; say of each whether it was released."""
        released = await add_scratches(self._direct, asked)
        return [volume.name in released for volume, _ in asked]

    async def _renew_scratch(self, request: PrepareVolumes) -> None:
        """Take a scratch that was released back into use, empty.

        The row stays locked while the old folder goes, as it does in `sweep`: neither takes the other's folder.
        """
        if not request.renew:
            raise VolumeUnavailableError("The scratch of this lab was removed with the lab.")
        async with self._database.transaction() as session:
            if not await Store(session).lock_released(request.lab_id):
                return  # somebody else has renewed it meanwhile
            await asyncio.to_thread(_move, self._layout.scratches / request.lab_id, self._layout.retired)
            volume = await Store(session).renew_scratch(request.lab_id)
            self._tell(session, VOLUME_CREATED, volume)
        self.something_released.set()

    async def _add_home(self, request: PrepareVolumes) -> None:
        volume = self._new(VolumeKind.HOME, "home", request)
        async with self._database.transaction() as session:
            if await Store(session).add_volume(volume):
                self._tell(session, VOLUME_CREATED, volume)

    def _new(self, kind: VolumeKind, name: str, request: PrepareVolumes) -> Volume:
        return Volume(
            id=new_lab_id(),
            kind=kind,
            owner=request.owner,
            name=name,
            uid=request.uid,
            revision=1,
            created_at=self._clock.now(),
        )

    async def _own_folder(self, parent: Path, name: str, *, uid: int) -> Path:
        try:
            return await self._make_folder((parent, name, uid))
        except (OSError, StrangeFolderError) as error:
            log.error("volumes.no_folder", folder=str(parent / name), uid=uid, reason=str(error))  # noqa: TRY400
            raise VolumeUnavailableError(f"The folder {name} cannot be used: {_reason(error)}.") from error

    async def _account(self, request: PrepareVolumes) -> Path:
        try:
            return await self._keep_account((self._layout.accounts, request.owner, request.uid))
        except OSError as error:
            raise VolumeUnavailableError(
                f"The account of {request.owner} cannot be written: {_reason(error)}."
            ) from error

    async def _give_starters(self, home: Path, request: PrepareVolumes) -> None:
        """Copy what was never given; a home that cannot take starters still makes a good lab."""
        folder = request.starters_name
        async with self._database.reading() as session:
            given = await Store(session).starters_given(request.owner, folder)
        sources = [Path(source) for source in request.starters]
        try:
            copied = await asyncio.to_thread(
                copy_starters, home, folder, sources, given=given, uid=request.uid
            )
        except (OSError, ValueError, StrangeFolderError) as error:
            log.warning("starters.not_given", owner=request.owner, folder=folder, reason=str(error))
            return
        if copied:
            async with self._database.transaction() as session:
                await Store(session).give_starters(request.owner, folder, copied, at=self._clock.now())

    def _measure(self, volume: Volume) -> asyncio.Task[None]:
        task = self._measuring.get(volume.id)
        if task is None:
            task = asyncio.create_task(self._measured(volume), name=f"measure {volume.id}")
            self._measuring[volume.id] = task
            task.add_done_callback(lambda _: self._measuring.pop(volume.id, None))
        return task

    async def _measured(self, volume: Volume) -> None:
        home = volume.kind == VolumeKind.HOME
        folder = self._layout.homes / volume.owner if home else self._layout.scratches / volume.name
        try:
            async with self._one_at_a_time:
                used = await asyncio.to_thread(measure, folder, seconds=self._measure_at_most.total_seconds())
            async with self._database.transaction() as session:
                now = self._clock.now()
                measured = await Store(session).record_use(volume.id, used_bytes=used, at=now)
                if measured is not None and used != volume.used_bytes:
                    self._tell(session, VOLUME_MEASURED, measured)
        except TooLargeError:
            log.warning("volumes.too_large_to_measure", volume=volume.id, owner=volume.owner)
        except Exception:  # the edge of a background task: report, the next list tries again
            log.exception("volumes.not_measured", volume=volume.id)

    def _tell(self, session: AsyncSession, event: EventType, volume: Volume) -> None:
        self._outbox.add(session, event, volume.id, self._fact(volume), revision=volume.revision)

    def _event(self, event: EventType, volume: Volume) -> dict[str, Any]:
        return self._outbox.row(event, volume.id, self._fact(volume), revision=volume.revision)

    def _fact(self, volume: Volume) -> VolumeFact:
        return VolumeFact(
            volume=self._bounded(volume), revision=volume.revision, owner=volume.owner, actor=SELF
        )


async def _make_folders(asked: list[tuple[Path, str, int]]) -> list[Path | Exception]:
    """Make folders in one visit of a thread: the visit costs more than a folder."""
    return await asyncio.to_thread(lambda: [_make_folder(*one) for one in asked])


def _make_folder(parent: Path, name: str, uid: int) -> Path | Exception:
    try:
        return make_own(parent, name, uid=uid)
    except (OSError, StrangeFolderError) as error:
        return error


async def _keep_accounts(asked: list[tuple[Path, str, int]]) -> list[Path | Exception]:
    """Have accounts in one visit of a thread, too."""
    return await asyncio.to_thread(lambda: [_kept(*one) for one in asked])


def _kept(parent: Path, owner: str, uid: int) -> Path | Exception:
    try:
        return keep_account(parent, owner, uid=uid, home=HOME_TARGET)
    except OSError as error:
        return error


def _reason(error: Exception) -> str:
    return error.strerror or "error" if isinstance(error, OSError) else "it is not what it should be"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _move(folder: Path, into: Path) -> None:
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        folder.rename(into / f"{folder.name}-{new_lab_id()}")
    except FileNotFoundError:
        return
