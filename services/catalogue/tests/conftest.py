import asyncio
import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from datalabs_catalogue.importing import Importer
from datalabs_catalogue.popularity import Popularity
from datalabs_catalogue.searching import Catalogue
from datalabs_catalogue.sizes import Sizes
from datalabs_catalogue.sources import MIB, Sources
from datalabs_catalogue.specifications import Specifications
from datalabs_catalogue.store import Store
from datalabs_catalogue.tables import Base
from datalabs_contracts.datalabs import Size
from datalabs_runtime.database import Database
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.outbox import Outbox
from datalabs_testing.clock import FakeClock

META: dict[str, Any] = {
    "title": "Radio maps",
    "alternateName": "radio",
    "abstract": "Maps of the radio sky.",
    "contactPoint": {"email": "help@example.org"},
    "creator": {"name": "Example"},
    "version": "1.0",
    "domain": "Astronomy",
    "mission": "Planck",
    "keywords": ["radio", "maps"],
    "x-datalabs": {"runtimes": ["process"], "process": {"command": ["python", "-V"]}},
}


class HeldLease:
    """A lease that is held, or not, as the test says."""

    def __init__(self) -> None:
        self._turn = asyncio.Event()
        self._turn.set()

    @property
    def held(self) -> bool:
        return self._turn.is_set()

    @held.setter
    def held(self, held: bool) -> None:
        if held:
            self._turn.set()
        else:
            self._turn.clear()

    async def wait(self) -> None:
        await self._turn.wait()


@dataclass(kw_only=True)
class Desk:
    """The catalogue without its wire."""

    database: Database
    clock: FakeClock
    root: Path
    state: Path
    sizes: Sizes
    lease: HeldLease = field(default_factory=HeldLease)
    roots: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox = Outbox(Base, "catalogue", clock=self.clock)
        self.catalogue = Catalogue(database=self.database, sizes=self.sizes)
        self.specifications = Specifications(database=self.database, sizes=self.sizes)
        self.popularity = Popularity(
            database=self.database, outbox=self.outbox, inbox=Inbox(Base), clock=self.clock
        )
        self.roots = [self.root]
        self.importer = self.new_importer()

    def new_importer(self) -> Importer:
        """The importer as a restarted service would have it."""
        lease: Any = self.lease
        return Importer(
            database=self.database,
            outbox=self.outbox,
            clock=self.clock,
            lease=lease,
            roots=self.roots,
            kept=Sources(self.state / "catalogue"),
            sizes=self.sizes,
            largest=2 * MIB,
            kept_for=timedelta(days=7),
        )

    def write(
        self, slug: str, *, root: Path | None = None, ours: dict[str, Any] | None = None, **given: Any
    ) -> Path:
        """Write an entry's folder; a value of None leaves a key out."""
        folder = (root or self.root) / "datalabs" / slug
        folder.mkdir(parents=True, exist_ok=True)
        content = {**META, "title": slug.replace("-", " ").capitalize(), **given}
        content["x-datalabs"] = {**META["x-datalabs"], **(ours or {})}
        content = {key: value for key, value in content.items() if value is not None}
        (folder / "datalab-meta.yml").write_text(yaml.safe_dump(content))
        return folder

    def remove(self, slug: str) -> None:
        shutil.rmtree(self.root / "datalabs" / slug)

    async def facts(self) -> list[str]:
        """Subjects of all events, in the order in which they were written."""
        table = Base.Outbox.__table__
        async with self.database.reading() as session:
            return list(await session.scalars(select(table.c.subject).order_by(table.c.id)))

    async def problems(self) -> dict[str, str]:
        """What is wrong, by the folder's name."""
        async with self.database.reading() as session:
            found = await Store(session).problems()
        return {Path(problem.folder).name: problem.problem for problem in found}


@pytest.fixture
async def desk(database: Any, clock: FakeClock, tmp_path: Path) -> Desk:
    root = tmp_path / "content"
    (root / "datalabs").mkdir(parents=True)
    sizes = Sizes(
        [
            Size(name="small", title="Small", cores=0.5, memory_mib=768),
            Size(name="large", title="Large", cores=2, memory_mib=4096),
        ]
    )
    return Desk(
        database=await database("catalogue"), clock=clock, root=root, state=tmp_path / "state", sizes=sizes
    )
