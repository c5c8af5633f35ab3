"""All of storage's SQL. A store works within the transaction of the session that it is given."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_contracts.datalabs import Collection
from datalabs_contracts.volumes import Volume, VolumeKind
from datalabs_runtime.direct import Direct
from datalabs_runtime.outbox import as_json
from datalabs_runtime.tables import NOW_AND_WAKE
from datalabs_storage.models import StoredCollection
from datalabs_storage.tables import collections, starters, volumes

# Data-modifying WITH clauses see the same snapshot: `old` is what was there before. The default of `created_at`
# is SQLAlchemy's and has to be said here.
_ADD_SCRATCHES = f"""
    WITH asked AS (
        SELECT * FROM json_to_recordset(%(asked)s::json) AS asked(
            id text, owner text, name text, uid bigint, revision bigint, made_at timestamptz,
            event_id text, subject text, entity text, headers jsonb, body text
        )
    ), made AS (
        INSERT INTO volumes (id, kind, owner, name, uid, revision, created_at)
        SELECT id, 'scratch', owner, name, uid, revision, made_at FROM asked ORDER BY name
        ON CONFLICT DO NOTHING RETURNING id
    ), told AS (
        INSERT INTO outbox (event_id, subject, entity, revision, headers, body, created_at)
        SELECT event_id, subject, entity, revision, headers, convert_to(body, 'UTF8'),
            {NOW_AND_WAKE}
        FROM asked JOIN made USING (id)
    )
    SELECT old.name FROM asked JOIN volumes AS old ON old.kind = 'scratch' AND old.name = asked.name
    WHERE old.released_at IS NOT NULL
"""  # noqa: S608 - of constants


async def add_scratches(direct: Direct, asked: Sequence[tuple[Volume, Mapping[str, Any]]]) -> set[str]:
    """Insert those scratches that are not there, each with its event; return the labs whose scratch was released."""
    rows = [
        {
            **as_json(event),
            **volume.model_dump(mode="json", include={"id", "owner", "name", "uid", "revision"}),
            "made_at": volume.created_at.isoformat(),
        }
        for volume, event in asked
    ]
    return {row.name for row in await direct.run(_ADD_SCRATCHES, {"asked": json.dumps(rows)})}


def _volume(row: Row[Any]) -> Volume:
    return Volume(
        id=row.id,
        kind=VolumeKind(row.kind),
        owner=row.owner,
        name=row.name,
        uid=row.uid,
        used_bytes=row.used_bytes,
        quota_bytes=row.quota_bytes,
        measured_at=row.measured_at,
        revision=row.revision,
        created_at=row.created_at,
    )


class Store:
    """Volumes, starters and collections."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_volume(self, volume: Volume) -> bool:
        """Insert a volume; return False when its owner's home, or this lab's scratch, exists already."""
        statement = upsert(volumes).values(**volume.model_dump(mode="python")).on_conflict_do_nothing()
        return (await self._session.execute(statement.returning(volumes.c.id))).one_or_none() is not None

    async def home(self, owner: str) -> Volume | None:
        """Return somebody's home."""
        which = (volumes.c.kind == VolumeKind.HOME) & (volumes.c.owner == owner)
        row = (await self._session.execute(select(volumes).where(which))).one_or_none()
        return _volume(row) if row else None

    async def volumes_of(self, owner: str, limit: int) -> list[Volume]:
        """Return somebody's volumes, the home first, then scratches, newest first."""
        statement = (
            select(volumes)
            .where(volumes.c.owner == owner, volumes.c.released_at.is_(None))
            .order_by(volumes.c.kind, volumes.c.created_at.desc(), volumes.c.id)
            .limit(limit)
        )
        return [_volume(row) for row in await self._session.execute(statement)]

    async def release_scratch(self, lab_id: str, *, at: datetime) -> Volume | None:
        """Mark a lab's scratch released; return it, or nothing when there was none or it was released before."""
        statement = (
            update(volumes)
            .where(volumes.c.kind == VolumeKind.SCRATCH, volumes.c.name == lab_id)
            .where(volumes.c.released_at.is_(None))
            .values(released_at=at, revision=volumes.c.revision + 1)
            .returning(volumes)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return _volume(row) if row else None

    async def lock_released(self, lab_id: str) -> bool:
        """Whether a lab's scratch is released; it stays as it is until this transaction ends."""
        which = (volumes.c.kind == VolumeKind.SCRATCH) & (volumes.c.name == lab_id)
        statement = select(volumes.c.released_at).where(which).with_for_update()
        row = (await self._session.execute(statement)).one_or_none()
        return row is not None and row.released_at is not None

    async def renew_scratch(self, lab_id: str) -> Volume:
        """Mark a released scratch as in use again, with nothing in it."""
        statement = (
            update(volumes)
            .where(volumes.c.kind == VolumeKind.SCRATCH, volumes.c.name == lab_id)
            .values(released_at=None, used_bytes=None, measured_at=None, revision=volumes.c.revision + 1)
            .returning(volumes)
        )
        return _volume((await self._session.execute(statement)).one())

    async def released(self, lab_ids: Iterable[str]) -> set[str]:
        """Return which of these labs' scratches were released."""
        which = volumes.c.name.in_(list(lab_ids)) & volumes.c.released_at.is_not(None)
        statement = select(volumes.c.name).where(volumes.c.kind == VolumeKind.SCRATCH, which)
        return set((await self._session.execute(statement)).scalars())

    async def record_use(self, volume_id: str, *, used_bytes: int, at: datetime) -> Volume | None:
        """Note what a volume holds; the revision is raised with the figure. Nothing when it was released."""
        statement = (
            update(volumes)
            .where(volumes.c.id == volume_id, volumes.c.released_at.is_(None))
            .values(used_bytes=used_bytes, measured_at=at, revision=volumes.c.revision + 1)
            .returning(volumes)
        )
        row = (await self._session.execute(statement)).one_or_none()
        return _volume(row) if row else None

    async def starters_given(self, owner: str, folder: str) -> set[str]:
        """Return which starters this person once got into that folder."""
        statement = select(starters.c.path).where(starters.c.owner == owner, starters.c.folder == folder)
        return set((await self._session.execute(statement)).scalars())

    async def give_starters(self, owner: str, folder: str, paths: Iterable[str], *, at: datetime) -> None:
        """Note that these starters were given."""
        rows = [{"owner": owner, "folder": folder, "path": path, "given_at": at} for path in paths]
        if rows:
            await self._session.execute(upsert(starters).values(rows).on_conflict_do_nothing())

    async def collection(self, collection_id: str, *, lock: bool = False) -> StoredCollection | None:
        """Return a collection, withdrawn or not, with all its files."""
        statement = select(collections).where(collections.c.id == collection_id)
        if lock:
            statement = statement.with_for_update()
        row = (await self._session.execute(statement)).one_or_none()
        return _collection(row) if row else None

    async def collections_after(self, collection_id: str, limit: int) -> list[Collection]:
        """Return collections that are not withdrawn by id, from behind this one, without their files."""
        statement = (
            select(collections)
            .where(collections.c.id > collection_id, collections.c.withdrawn_at.is_(None))
            .order_by(collections.c.id)
            .limit(limit)
        )
        found = [_collection(row).collection for row in await self._session.execute(statement)]
        return [collection.model_copy(update={"files": []}) for collection in found]

    async def collection_ids(self) -> set[str]:
        """Return the ids of all collections that are not withdrawn."""
        statement = select(collections.c.id).where(collections.c.withdrawn_at.is_(None))
        return set((await self._session.execute(statement)).scalars())

    async def put_collection(
        self, collection: Collection, *, at: datetime, withdrawn_at: datetime | None
    ) -> None:
        """Write a collection as it now is."""
        values = {
            "collection": collection.model_dump(mode="json"),
            "available": collection.available,
            "revision": collection.revision,
            "changed_at": at,
            "withdrawn_at": withdrawn_at,
        }
        statement = upsert(collections).values(id=collection.id, **values)
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=[collections.c.id], set_=values)
        )


def _collection(row: Row[Any]) -> StoredCollection:
    return StoredCollection(
        collection=Collection.model_validate(row.collection), withdrawn_at=row.withdrawn_at
    )
