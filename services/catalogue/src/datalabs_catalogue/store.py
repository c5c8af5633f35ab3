"""All of the catalogue's SQL but the search's. A store works within the transaction of the session it is given."""

import functools
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, case, delete, func, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement

from datalabs_catalogue import icons
from datalabs_catalogue.models import (
    Entry,
    StoredDatalab,
    StoredVersion,
    VersionSpecification,
)
from datalabs_catalogue.tables import collections, datalabs, import_problems, launches, versions
from datalabs_catalogue.words import folded
from datalabs_contracts.datalabs import (
    Citation,
    Collection,
    Contact,
    Datalab,
    DatalabIcon,
    ImportProblem,
    Kind,
)

CARD = (
    datalabs.c.slug,
    datalabs.c.title,
    datalabs.c.abstract,
    datalabs.c.kind,
    datalabs.c.domain,
    datalabs.c.mission,
    datalabs.c.keywords,
    datalabs.c.latest_version,
    datalabs.c.people,
    datalabs.c.revision,
)
"""What a card shows."""
OFFERED = datalabs.c.withdrawn_at.is_(None)
INDEXED = 100_000
"""Characters of a description that are searched; PostgreSQL takes at most 1 MiB of lexemes for an entry."""


def card(row: Any) -> Datalab:
    """Return an entry as its card shows it."""
    return Datalab(
        slug=row.slug,
        title=row.title,
        abstract=row.abstract,
        kind=Kind(row.kind),
        domain=row.domain,
        mission=row.mission,
        keywords=row.keywords,
        icon_url=f"/api/v1/datalabs/{row.slug}/icon",
        latest_version=row.latest_version,
        revision=row.revision,
        people=row.people,
    )


def _datalab(row: Row[Any]) -> StoredDatalab:
    return StoredDatalab(
        datalab=card(row),
        description=row.description,
        licence=row.licence,
        language=row.language,
        creator=row.creator,
        contact=Contact.model_validate(row.contact),
        citation=Citation.model_validate(row.citation) if row.citation else None,
        funder=row.funder,
        root=row.root,
        folder=row.folder,
        digest=row.digest,
        withdrawn_at=row.withdrawn_at,
    )


def _version(row: Row[Any]) -> StoredVersion:
    return StoredVersion(
        datalab=row.datalab,
        name=row.name,
        digest=row.digest,
        specification=VersionSpecification.model_validate(row.specification),
        published_at=row.published_at,
    )


def search_vector(entry: Entry) -> ColumnElement[Any]:
    """Return the words of an entry by weight, as written (for prefixes) and as English stems."""
    texts = {
        "A": entry.title,
        "B": " ".join([*entry.keywords, entry.domain, entry.mission, entry.slug]),
        "C": f"{entry.abstract} {entry.creator} {' '.join(entry.specification.packages)}",
        "D": entry.description[:INDEXED],
    }
    parts = [
        # Weights and languages are written out: as parameters they would be text, which setweight does not take.
        func.setweight(
            func.to_tsvector(literal_column(f"'{language}'"), folded(content)), literal_column(f"'{weight}'")
        )
        for weight, content in texts.items()
        for language in ("simple", "english")
    ]
    vector: ColumnElement[Any] = functools.reduce(lambda whole, part: whole.op("||")(part), parts)
    return vector


class Store:
    """Entries, versions, launches, problems and what is known of collections."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def datalab(self, slug: str, *, lock: bool = False) -> StoredDatalab | None:
        """Return an entry, withdrawn or not."""
        statement = select(datalabs).where(datalabs.c.slug == slug)
        if lock:
            statement = statement.with_for_update()
        row = (await self._session.execute(statement)).one_or_none()
        return _datalab(row) if row else None

    async def put_datalab(self, entry: Entry, *, at: datetime) -> Datalab:
        """Write an entry as its folder describes it, offered from now on; return its card with the new revision."""
        values = {
            "root": str(entry.root),
            "folder": str(entry.folder),
            "digest": entry.digest,
            "title": entry.title,
            "sort_title": folded(entry.title),
            "abstract": entry.abstract,
            "description": entry.description,
            "kind": entry.kind,
            "domain": entry.domain,
            "mission": entry.mission,
            "keywords": entry.keywords,
            "licence": entry.licence,
            "language": entry.language,
            "creator": entry.creator,
            "contact": entry.contact.model_dump(mode="json"),
            "citation": entry.citation.model_dump(mode="json") if entry.citation else None,
            "funder": entry.funder,
            "icon": entry.icon,
            "icon_digest": icons.digest_of(entry.icon),
            "latest_version": entry.version,
            "changed_at": at,
            "withdrawn_at": None,
            "search": search_vector(entry),
        }
        statement = upsert(datalabs).values(slug=entry.slug, revision=1, published_at=at, **values)
        statement = statement.on_conflict_do_update(
            index_elements=[datalabs.c.slug], set_={**values, "revision": datalabs.c.revision + 1}
        )
        return card((await self._session.execute(statement.returning(*CARD))).one())

    async def put_version(
        self, *, slug: str, name: str, digest: str, specification: VersionSpecification, at: datetime
    ) -> None:
        """Write a version; an older state of the same name is replaced."""
        values = {
            "digest": digest,
            "specification": specification.model_dump(mode="json"),
            "changed_at": at,
        }
        statement = upsert(versions).values(datalab=slug, name=name, published_at=at, **values)
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=[versions.c.datalab, versions.c.name], set_=values)
        )

    async def versions_of(self, slug: str) -> list[StoredVersion]:
        """Return an entry's versions, the newest first."""
        statement = (
            select(versions)
            .where(versions.c.datalab == slug)
            .order_by(versions.c.published_at.desc(), versions.c.name.desc())
        )
        return [_version(row) for row in await self._session.execute(statement)]

    async def version(self, slug: str, name: str | None) -> StoredVersion | None:
        """Return a version of an entry, the latest when none is named."""
        statement = select(versions).join(datalabs, datalabs.c.slug == versions.c.datalab)
        statement = statement.where(
            versions.c.datalab == slug,
            versions.c.name == (datalabs.c.latest_version if name is None else name),
        )
        row = (await self._session.execute(statement)).one_or_none()
        return _version(row) if row else None

    async def latest_versions_after(self, slug: str, limit: int) -> list[StoredVersion]:
        """Return the latest version of each offered entry, by slug, from behind this one."""
        statement = (
            select(versions)
            .join(
                datalabs,
                (datalabs.c.slug == versions.c.datalab) & (datalabs.c.latest_version == versions.c.name),
            )
            .where(OFFERED, datalabs.c.slug > slug)
            .order_by(datalabs.c.slug)
            .limit(limit)
        )
        return [_version(row) for row in await self._session.execute(statement)]

    async def cards_after(self, slug: str, limit: int) -> list[Datalab]:
        """Return offered entries by slug, from behind this one."""
        statement = (
            select(*CARD).where(OFFERED, datalabs.c.slug > slug).order_by(datalabs.c.slug).limit(limit)
        )
        return [card(row) for row in await self._session.execute(statement)]

    async def sources(self) -> set[str]:
        """Return the folders with files of any version."""
        statement = select(versions.c.specification["source"].astext)
        return {source for source in (await self._session.execute(statement)).scalars() if source}

    async def offered_folders(self) -> dict[str, tuple[str, str]]:
        """Return root and folder of each offered entry."""
        statement = select(datalabs.c.slug, datalabs.c.root, datalabs.c.folder).where(OFFERED)
        return {row.slug: (row.root, row.folder) for row in await self._session.execute(statement)}

    async def withdraw(self, slug: str, *, at: datetime) -> Datalab | None:
        """Take an entry out of the catalogue; return its card, or nothing when it was out."""
        statement = (
            update(datalabs)
            .where(datalabs.c.slug == slug, OFFERED)
            .values(withdrawn_at=at, changed_at=at, revision=datalabs.c.revision + 1)
            .returning(*CARD)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return card(row) if row else None

    async def icon(self, slug: str) -> DatalabIcon | None:
        """Return the icon of an offered entry."""
        statement = select(datalabs.c.icon, datalabs.c.icon_digest).where(datalabs.c.slug == slug, OFFERED)
        row = (await self._session.execute(statement)).one_or_none()
        return DatalabIcon(slug=slug, svg=row.icon, digest=row.icon_digest) if row else None

    async def count_person(self, slug: str, username: str, *, at: datetime) -> Datalab | None:
        """Count somebody who launched an entry; return its card when that is somebody new."""
        exists = select(literal(slug), literal(username), literal(at)).where(
            select(datalabs.c.slug).where(datalabs.c.slug == slug).exists()
        )
        statement = upsert(launches).from_select(["datalab", "username", "first_at"], exists)
        new = await self._session.execute(statement.on_conflict_do_nothing().returning(launches.c.datalab))
        if new.one_or_none() is None:
            return None
        counted = (
            update(datalabs)
            .where(datalabs.c.slug == slug)
            .values(people=datalabs.c.people + 1, revision=datalabs.c.revision + 1, changed_at=at)
            .returning(*CARD, datalabs.c.withdrawn_at)
        )
        row = (await self._session.execute(counted)).one()
        return card(row) if row.withdrawn_at is None else None

    async def has_counted(self, slug: str, username: str) -> bool:
        """Return whether somebody who launched an entry is counted."""
        known = select(launches.c.datalab).where(launches.c.datalab == slug, launches.c.username == username)
        return bool((await self._session.execute(select(known.exists()))).scalar_one())

    async def note_problem(self, folder: str, problem: str | None, *, at: datetime) -> None:
        """Keep what is wrong with a folder, since when it is wrong in just this way; None: all is well."""
        if problem is None:
            await self._session.execute(delete(import_problems).where(import_problems.c.folder == folder))
            return
        statement = upsert(import_problems).values(folder=folder, problem=problem, since=at)
        since = case((import_problems.c.problem == problem, import_problems.c.since), else_=at)
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[import_problems.c.folder], set_={"problem": problem, "since": since}
            )
        )

    async def problems(self, *, after: str = "", limit: int | None = None) -> list[ImportProblem]:
        """Return what is wrong with folders, by their paths."""
        statement = select(import_problems).where(import_problems.c.folder > after)
        rows = await self._session.execute(statement.order_by(import_problems.c.folder).limit(limit))
        return [ImportProblem(folder=row.folder, problem=row.problem, since=row.since) for row in rows]

    async def put_collection(self, collection: Collection) -> None:
        """Keep what storage says of a collection, unless something newer is known."""
        values = {"collection": collection.model_dump(mode="json"), "revision": collection.revision}
        statement = upsert(collections).values(id=collection.id, **values)
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[collections.c.id],
                set_=values,
                where=collections.c.revision < collection.revision,
            )
        )

    async def keep_collections(self, ids: Iterable[str]) -> None:
        """Forget all collections but these."""
        await self._session.execute(delete(collections).where(collections.c.id.not_in(list(ids))))

    async def collections(self, ids: Iterable[str]) -> list[Collection]:
        """Return those of these collections that are known."""
        statement = select(collections.c.collection).where(collections.c.id.in_(list(ids)))
        found = (await self._session.execute(statement.order_by(collections.c.id))).scalars()
        return [Collection.model_validate(each) for each in found]

    async def collection_ids(self) -> set[str]:
        """Return the ids of all known collections."""
        return set((await self._session.execute(select(collections.c.id))).scalars())
