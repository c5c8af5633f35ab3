"""Launch specifications: choices checked, defaults filled in."""

import asyncio
from pathlib import Path

from datalabs_catalogue import schemas
from datalabs_catalogue.errors import (
    InvalidParametersError,
    UnknownCollectionError,
    UnknownDatalabError,
    UnknownSizeError,
    UnknownVersionError,
)
from datalabs_catalogue.models import VersionSpecification
from datalabs_catalogue.sizes import Sizes
from datalabs_catalogue.store import Store
from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.datalabs import (
    EnvironmentSpecification,
    LaunchSpecification,
    Size,
    SpecificationQuery,
)
from datalabs_runtime.database import Database


class Specifications:
    """Tells the launcher what versions need."""

    def __init__(self, *, database: Database, sizes: Sizes) -> None:
        self._database = database
        self._sizes = sizes

    async def specify(self, query: SpecificationQuery) -> LaunchSpecification:
        """Return what a launch with these choices needs.

        Raises `UnknownDatalabError`, `UnknownVersionError`, `UnknownSizeError`, `UnknownCollectionError`,
        `InvalidParametersError`.
        """
        async with self._database.reading() as session:
            store = Store(session)
            stored = await store.datalab(query.datalab)
            if stored is None or stored.withdrawn_at is not None:
                raise UnknownDatalabError(query.datalab)
            version = await store.version(query.datalab, query.version)
            known = await store.collection_ids() if query.collections else set()
        if version is None:
            raise UnknownVersionError(query.datalab, query.version or "")
        specification = version.specification
        collections = specification.collections
        if query.collections is not None:
            collections = list(dict.fromkeys(query.collections))
            # Storage decides in the end; while nothing was heard of it yet, everything may exist.
            unknown = [
                name for name in collections if name not in known and name not in specification.collections
            ]
            if unknown and known:
                raise UnknownCollectionError(unknown)
        return LaunchSpecification(
            datalab=query.datalab,
            title=stored.datalab.title,
            version=version.name,
            kind=stored.datalab.kind,
            size=self._size(specification, query.size),
            runtimes=specification.runtimes,
            port=specification.port,
            ready_path=specification.ready_path,
            open_path=specification.open_path,
            ready_secret=specification.ready_secret,
            activity=specification.activity,
            parameters=await asyncio.to_thread(_parameters, specification, query),
            collections=collections,
            starters=[str(Path(specification.source) / name) for name in specification.starters],
            source=specification.source,
            start_timeout_seconds=specification.start_timeout_seconds,
            stop_seconds=specification.stop_seconds,
            lifetime_seconds=specification.lifetime_seconds,
            idle=specification.idle,
        )

    async def environments(self, query: PageQuery) -> Page[EnvironmentSpecification]:
        """Return the latest version of each entry, by slug: what is worth preparing before its first launch.

        Raises `ProblemError` for a foreign cursor.
        """
        after = decode_cursor("environments", query.cursor, str)[0] if query.cursor else ""
        async with self._database.reading() as session:
            found = await Store(session).latest_versions_after(after, query.limit + 1)
        items = [
            EnvironmentSpecification(
                datalab=version.datalab,
                version=version.name,
                runtimes=version.specification.runtimes,
                source=version.specification.source,
            )
            for version in found[: query.limit]
        ]
        more = len(found) > query.limit
        return Page(items=items, next=encode_cursor("environments", items[-1].datalab) if more else None)

    def _size(self, specification: VersionSpecification, name: str | None) -> Size:
        if name is None:
            return self._sizes.default_of(specification)
        offered = self._sizes.of(specification)
        for size in offered:
            if size.name == name:
                return size
        raise UnknownSizeError(name, [size.name for size in offered])


def _parameters(specification: VersionSpecification, query: SpecificationQuery) -> dict[str, object]:
    filled = schemas.with_defaults(specification.parameters, query.parameters)
    problems = schemas.problems_of(specification.parameters, filled)
    if problems:
        raise InvalidParametersError(problems)
    return filled
