"""Searching and reading the catalogue."""

import hashlib
import json
from datetime import datetime

from datalabs_catalogue.errors import UnknownDatalabError
from datalabs_catalogue.models import StoredVersion, Wanted
from datalabs_catalogue.search_store import SearchStore
from datalabs_catalogue.sizes import Sizes
from datalabs_catalogue.store import Store
from datalabs_catalogue.words import suggestion, words_of
from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.datalabs import (
    Datalab,
    DatalabDetail,
    DatalabIcon,
    DatalabPage,
    DatalabQuery,
    DatalabRef,
    ImportProblem,
    Size,
    Version,
)
from datalabs_runtime.database import Database


class Catalogue:
    """Answers questions about what can be launched."""

    def __init__(self, *, database: Database, sizes: Sizes) -> None:
        self._database = database
        self._sizes = sizes
        self._vocabulary: tuple[tuple[datetime | None, int], set[str]] = ((None, -1), set())

    async def search(self, query: DatalabQuery) -> DatalabPage:
        """Return a page of hits with the facets of the whole search. Raises `ProblemError` for a foreign cursor."""
        words = words_of(query.q)
        if query.q.strip() and not words:
            return DatalabPage(items=[], facets={}, total=0)
        choices = {
            "kind": [str(kind) for kind in query.kind],
            "domain": query.domain,
            "mission": query.mission,
            "keyword": query.keyword,
        }
        # The cursor is of this search only.
        kind = _cursor_kind(words, choices)
        after: tuple[float, str, str] | None = None
        if query.cursor:
            rank, title, slug = decode_cursor(kind, query.cursor, float, str, str)
            after = (rank, title, slug)
        wanted = Wanted(words=words, choices=choices, after=after, limit=query.limit + 1)
        async with self._database.reading() as session:
            store = SearchStore(session)
            found = await store.page(wanted)
            total, facets = await store.facets(wanted)
            proposal = await self._did_you_mean(store, wanted) if total == 0 and words else None
        shown = found[: query.limit]
        more = len(found) > query.limit
        return DatalabPage(
            items=[hit.datalab for hit in shown],
            next=encode_cursor(kind, *shown[-1].key) if more else None,
            facets=facets,
            total=total,
            did_you_mean=proposal,
        )

    async def get(self, reference: DatalabRef) -> DatalabDetail:
        """Return an entry with its versions. Raises `UnknownDatalabError`."""
        async with self._database.reading() as session:
            store = Store(session)
            stored = await store.datalab(reference.slug)
            if stored is None or stored.withdrawn_at is not None:
                raise UnknownDatalabError(reference.slug)
            versions = await store.versions_of(reference.slug)
            names = [name for version in versions for name in version.specification.collections]
            collections = await store.collections(dict.fromkeys(names))
        shown = [self._version(version) for version in versions]
        offered = {name for version in shown for name in version.sizes}
        return DatalabDetail(
            **stored.datalab.model_dump(),
            description=stored.description,
            licence=stored.licence,
            language=stored.language,
            creator=stored.creator,
            contact=stored.contact,
            citation=stored.citation,
            funder=stored.funder,
            versions=shown,
            sizes=[size for size in self._sizes.all if size.name in offered],
            collections=collections,
        )

    async def icon(self, reference: DatalabRef) -> DatalabIcon:
        """Return an entry's icon. Raises `UnknownDatalabError`."""
        async with self._database.reading() as session:
            found = await Store(session).icon(reference.slug)
        if found is None:
            raise UnknownDatalabError(reference.slug)
        return found

    async def list(self, query: PageQuery) -> Page[Datalab]:
        """Return all offered entries by slug. Raises `ProblemError` for a foreign cursor."""
        after = decode_cursor("datalabs", query.cursor, str)[0] if query.cursor else ""
        async with self._database.reading() as session:
            found = await Store(session).cards_after(after, query.limit + 1)
        items = found[: query.limit]
        more = len(found) > query.limit
        return Page(items=items, next=encode_cursor("datalabs", items[-1].slug) if more else None)

    async def import_problems(self, query: PageQuery) -> Page[ImportProblem]:
        """Return what is wrong with folders, by their paths. Raises `ProblemError` for a foreign cursor."""
        after = decode_cursor("import-problems", query.cursor, str)[0] if query.cursor else ""
        async with self._database.reading() as session:
            found = await Store(session).problems(after=after, limit=query.limit + 1)
        items = found[: query.limit]
        more = len(found) > query.limit
        return Page(items=items, next=encode_cursor("import-problems", items[-1].folder) if more else None)

    async def list_sizes(self, query: PageQuery) -> Page[Size]:
        """Return the site's sizes, the usual one first. Raises `ProblemError` for a foreign cursor."""
        start = decode_cursor("sizes", query.cursor, int)[0] if query.cursor else 0
        items = self._sizes.all[max(start, 0) : max(start, 0) + query.limit]
        following = max(start, 0) + query.limit
        more = following < len(self._sizes.all)
        return Page(items=items, next=encode_cursor("sizes", following) if more else None)

    def _version(self, version: StoredVersion) -> Version:
        specification = version.specification
        sizes = self._sizes.of(specification)
        return Version(
            name=version.name,
            published_at=version.published_at,
            runtimes=specification.runtimes.order,
            sizes=[size.name for size in sizes],
            default_size=self._sizes.default_of(specification).name,
            parameters_schema=specification.parameters,
            collections=specification.collections,
            packages=specification.packages,
            notes=specification.notes,
        )

    async def _did_you_mean(self, store: SearchStore, wanted: Wanted) -> str | None:
        """Return a question near this one that has hits."""
        state = await store.newest_change()
        if self._vocabulary[0] != state:
            self._vocabulary = (state, await store.vocabulary())
        proposal = suggestion(wanted.words, self._vocabulary[1])
        if proposal is None:
            return None
        total, _ = await store.facets(Wanted(words=words_of(proposal), choices=wanted.choices))
        return proposal if total else None


def _cursor_kind(words: list[str], choices: dict[str, list[str]]) -> str:
    text = json.dumps([words, {name: sorted(values) for name, values in choices.items()}], sort_keys=True)
    return f"search-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
