import hashlib
import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from datalabs_contracts.volumes import PreparedVolumes, PrepareVolumes
from datalabs_runtime.database import Database
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.outbox import Outbox
from datalabs_storage.collections import Collections, Times
from datalabs_storage.disk import Disk
from datalabs_storage.errors import PackageError
from datalabs_storage.folders import is_root
from datalabs_storage.models import Layout
from datalabs_storage.tables import Base
from datalabs_storage.volumes import VolumeKeeper
from datalabs_testing.clock import FakeClock

UID = 200_001
LAB = "k3v9x2abcd"
HOME_MIB = 2


@dataclass
class Shelf:
    """Packages that need no network: contents by (package, archive, member)."""

    contents: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    away: bool = False

    async def fetch(self, package: str, archive: str, members: list[str], into: Path) -> dict[str, Path]:
        self.fetched.append(package)
        if self.away:
            raise PackageError(f"{package} could not be had from the index: ConnectError")
        found: dict[str, Path] = {}
        for number, member in enumerate(members):
            path = into / str(number)
            path.write_bytes(self.contents[package, archive, member])
            found[member] = path
        return found


@dataclass(kw_only=True)
class Desk:
    """Storage without its wire."""

    database: Database
    clock: FakeClock
    state: Path
    root: Path
    shelf: Shelf = field(default_factory=Shelf)
    minimum_free_mib: int = 0

    def __post_init__(self) -> None:
        self.layout = Layout(volumes=self.state / "volumes", collections=self.state / "collections")
        self.outbox = Outbox(Base, "storage", clock=self.clock)
        self.restart()

    def restart(self) -> None:
        """What a restarted service would have: the same database and disk, an empty memory."""
        disk = Disk(folder=self.state, minimum_free_mib=self.minimum_free_mib)
        packages: Any = self.shelf
        self.collections = Collections(
            database=self.database,
            outbox=self.outbox,
            clock=self.clock,
            layout=self.layout,
            disk=disk,
            packages=packages,
            roots=[self.root],
            times=Times(
                verify_every=timedelta(minutes=10),
                retry_first=timedelta(seconds=15),
                retry_longest=timedelta(minutes=15),
                wait=timedelta(0),
                replaced_kept=timedelta(days=7),
            ),
        )
        self.volumes = VolumeKeeper(
            database=self.database,
            outbox=self.outbox,
            inbox=Inbox(Base),
            clock=self.clock,
            layout=self.layout,
            disk=disk,
            collections=self.collections,
            measure_every=timedelta(minutes=15),
            measure_at_most=timedelta(seconds=30),
            home_mib=HOME_MIB,
        )

    def describe(
        self, name: str, files: dict[str, bytes], *, package: str | None = None, **given: Any
    ) -> Path:
        """Write a description; the files come from a package on the shelf, or lie in a folder beside it."""
        folder = self.root / "collections"
        listed: list[dict[str, Any]] = []
        for path, content in files.items():
            entry: dict[str, Any] = {
                "member": f"data/{path}",
                "path": path,
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
            }
            if package is None:
                entry["folder"] = name
                target = folder / name / "data" / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            else:
                entry["package"] = package
                self.shelf.contents[package, "wheel", f"data/{path}"] = content
            listed.append(entry)
        content = {
            "id": name,
            "title": name.capitalize(),
            "abstract": "Some data.",
            "licence": "CC0-1.0",
            "source": "https://example.org",
            "citation": {"text": "Somebody (2020)"},
            "files": listed,
            **given,
        }
        file = folder / f"{name}.yml"
        file.write_text(yaml.safe_dump(content))
        return file

    async def prepare(self, **given: Any) -> PreparedVolumes:
        request = PrepareVolumes(
            **{"lab_id": LAB, "attempt": 1, "owner": "ada", "uid": UID, "scratch_mib": 100, **given}
        )
        return await self.volumes.prepare(request)

    async def facts(self) -> list[str]:
        """Entity and fact of all events, in the order in which they were written."""
        table = Base.Outbox.__table__
        async with self.database.reading() as session:
            subjects = await session.scalars(select(table.c.subject).order_by(table.c.id))
            return [".".join(subject.split(".")[1::2]) for subject in subjects]


@pytest.fixture
async def desk(database: Any, clock: FakeClock, tmp_path: Path) -> Desk:
    (tmp_path / "content" / "collections").mkdir(parents=True)
    state = tmp_path / "state"
    state.mkdir()
    return Desk(database=await database("storage"), clock=clock, state=state, root=tmp_path / "content")


@pytest.fixture
def owner_uid() -> int:
    """The uid that made folders have: the person's as root, the tests' own otherwise."""

    return UID if is_root() else os.geteuid()
