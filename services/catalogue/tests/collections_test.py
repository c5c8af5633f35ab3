from typing import Any

from datalabs_catalogue.collections import CollectionsMirror
from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.datalabs import Citation, Collection, DatalabRef
from datalabs_contracts.problems import ProblemCode, ProblemError


def collection(name: str, *, revision: int = 1, title: str = "") -> Collection:
    return Collection(
        id=name,
        title=title or name,
        abstract="",
        licence="CC0-1.0",
        source="",
        citation=Citation(text=""),
        path=f"/data/{name}",
        bytes=1,
        revision=revision,
    )


class Storage:
    """Answers with one collection a page, or is away."""

    def __init__(self, *collections: Collection) -> None:
        self.collections = list(collections)
        self.away = False

    async def list(self, query: PageQuery) -> Page[Collection]:
        if self.away:
            raise ProblemError(ProblemCode.SERVICE_UNAVAILABLE)
        start = int(query.cursor or 0)
        following = str(start + 1) if start + 1 < len(self.collections) else None
        return Page(items=self.collections[start : start + 1], next=following)


async def titles(desk: Any) -> dict[str, str]:
    detail = await desk.catalogue.get(DatalabRef(slug="radio"))
    return {each.id: each.title for each in detail.collections}


async def test_entries_tell_of_their_collections_also_while_storage_is_away(desk: Any) -> None:
    desk.write("radio", ours={"collections": ["sun", "iers"]})
    await desk.importer.refresh()
    storage = Storage(collection("iers"), collection("sun"), collection("other"))
    mirror = CollectionsMirror(database=desk.database, ask=storage.list)
    assert await titles(desk) == {}
    await mirror.refresh()
    assert await titles(desk) == {"iers": "iers", "sun": "sun"}
    storage.away = True
    await mirror.refresh()
    assert await titles(desk) == {"iers": "iers", "sun": "sun"}
    storage.away = False
    del storage.collections[0]
    await mirror.refresh()
    assert await titles(desk) == {"sun": "sun"}


async def test_the_highest_revision_wins_in_any_order(desk: Any) -> None:
    desk.write("radio", ours={"collections": ["sun"]})
    await desk.importer.refresh()
    mirror = CollectionsMirror(database=desk.database, ask=Storage().list)
    for revision in (2, 3, 1, 2):
        await mirror.changed(collection("sun", revision=revision, title=f"state {revision}"))
    assert await titles(desk) == {"sun": "state 3"}
