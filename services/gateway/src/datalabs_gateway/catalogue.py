"""The catalogue's reads: the front page from memory, searches from the catalogue, readiness joined to both."""

import asyncio
from collections import OrderedDict
from typing import TypeVar

from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.datalabs import (
    Collection,
    Datalab,
    DatalabIcon,
    DatalabPage,
    DatalabQuery,
    DatalabRef,
)
from datalabs_contracts.rpc import GET_ICON, LIST_COLLECTIONS, SEARCH_DATALABS
from datalabs_gateway.asking import Asking
from datalabs_gateway.callers import Caller
from datalabs_gateway.projection import Projection

DatalabT = TypeVar("DatalabT", bound=Datalab)

FRONT_PAGE = DatalabQuery()
COLLECTIONS_CURSOR = "collections-in-memory"
ICONS = 500


class Catalogue:
    """Reads of the catalogue for callers.

    The front page is the catalogue's own answer to the empty search, kept until a datalab's event makes it old; the
    generation tells an answer that was asked for before an event from one asked for after it.
    """

    def __init__(self, *, ask: Asking, projection: Projection) -> None:
        self._ask = ask
        self._projection = projection
        self._generation = 0
        self._front: tuple[int, DatalabPage] | None = None
        self._front_json: tuple[int, int, bytes] | None = None
        self._asked: tuple[int, asyncio.Task[DatalabPage]] | None = None
        self._icons: OrderedDict[str, DatalabIcon] = OrderedDict()

    def changed(self) -> None:
        """Take note that a datalab changed, or may have."""
        self._generation += 1
        self._icons.clear()

    def front_page(self) -> bytes | None:
        """Return the front page if it is known to be fresh; for the hot path."""
        front, readiness = self._front, self._projection.readiness.generation
        if front is None or front[0] != self._generation:
            return None
        cached = self._front_json
        if cached is None or cached[0] != front[0] or cached[1] != readiness:
            cached = self._front_json = (front[0], readiness, self._json(front[1]))
        return cached[2]

    async def search(self, query: DatalabQuery, caller: Caller) -> bytes:
        """Return a page of the catalogue as JSON."""
        if query != FRONT_PAGE:
            return self._json(await self._ask(SEARCH_DATALABS, query, caller))
        page = self.front_page()
        return page if page is not None else self._json(await self._fresh_front(caller))

    def with_readiness(self, datalab: DatalabT) -> DatalabT:
        """Return a datalab with how far its newest version's environment is."""
        readiness = self._projection.readiness.of(datalab.slug, datalab.latest_version)
        return datalab if readiness is None else datalab.model_copy(update={"readiness": readiness})

    async def icon(self, slug: str, caller: Caller) -> DatalabIcon:
        """Return a datalab's icon."""
        icon = self._icons.get(slug)
        if icon is None:
            generation = self._generation
            icon = await self._ask(GET_ICON, DatalabRef(slug=slug), caller)
            if generation == self._generation:
                self._icons[slug] = icon
                if len(self._icons) > ICONS:
                    self._icons.popitem(last=False)
        return icon

    async def collections(self, query: PageQuery, caller: Caller) -> Page[Collection]:
        """Return a page of collections.

        Raises ProblemError `invalid_cursor`.
        """
        if not self._projection.collections_settled:
            page = await self._ask(LIST_COLLECTIONS, query, caller)
            bare = [collection.model_copy(update={"files": []}) for collection in page.items]
            return Page[Collection](items=bare, next=page.next)
        after = decode_cursor(COLLECTIONS_CURSOR, query.cursor, str)[0] if query.cursor else None
        items, last = self._projection.collections.page(limit=query.limit, after=after)
        return Page[Collection](
            items=items, next=None if last is None else encode_cursor(COLLECTIONS_CURSOR, last)
        )

    async def _fresh_front(self, caller: Caller) -> DatalabPage:
        """Ask for the front page once however many wait; an answer from before an event is not kept."""
        asked = self._asked
        if asked is None or asked[0] != self._generation or asked[1].done():
            task = asyncio.create_task(self._asked_front(self._generation, caller), name="front page")
            asked = self._asked = (self._generation, task)
        return await asyncio.shield(asked[1])

    async def _asked_front(self, generation: int, caller: Caller) -> DatalabPage:
        page = await self._ask(SEARCH_DATALABS, FRONT_PAGE, caller)
        if generation == self._generation:
            self._front = (generation, page)
        return page

    def _json(self, page: DatalabPage) -> bytes:
        items = [self.with_readiness(datalab) for datalab in page.items]
        return page.model_copy(update={"items": items}).model_dump_json().encode()
