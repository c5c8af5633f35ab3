"""What the catalogue knows of collections: kept here, so that entries read well while storage is away."""

from collections.abc import Awaitable, Callable

import structlog

from datalabs_catalogue.store import Store
from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.datalabs import Collection
from datalabs_contracts.problems import ProblemError
from datalabs_runtime.database import Database

PAGE = 200

List = Callable[[PageQuery], Awaitable[Page[Collection]]]

log = structlog.get_logger(__name__)


class CollectionsMirror:
    """A copy of storage's collections, newest revisions winning."""

    def __init__(self, *, database: Database, ask: List) -> None:
        self._database = database
        self._ask = ask

    async def refresh(self) -> None:
        """Fetch all collections; while storage is away the copy stays as it is."""
        found: list[Collection] = []
        cursor: str | None = None
        try:
            while True:
                page = await self._ask(PageQuery(limit=PAGE, cursor=cursor))
                found += page.items
                cursor = page.next
                if cursor is None:
                    break
        except ProblemError as error:
            log.info("collections.storage_away", code=str(error.code))
            return
        async with self._database.transaction() as session:
            store = Store(session)
            for collection in found:
                await store.put_collection(collection)
            await store.keep_collections(collection.id for collection in found)

    async def changed(self, collection: Collection) -> None:
        """Take in one collection as an event tells it."""
        async with self._database.transaction() as session:
            await Store(session).put_collection(collection)
