"""The catalogue's reads: the front page stays in memory until a fact makes it old."""

import asyncio
from typing import Any

from datalabs_contracts import events
from datalabs_contracts.datalabs import (
    Citation,
    Collection,
    CollectionFact,
    DatalabFact,
    Readiness,
    ReadinessFact,
)


def a_collection(revision: int = 1, **change: Any) -> Collection:
    known: dict[str, Any] = {
        "id": "iers",
        "title": "Earth orientation",
        "abstract": "",
        "licence": "CC0-1.0",
        "source": "",
        "citation": Citation(text=""),
        "path": "/data/iers",
        "bytes": 1,
        "revision": revision,
        "files": [{"path": "a", "bytes": 1, "sha256": "0"}],
    }
    return Collection(**(known | change))


async def test_the_front_page_is_asked_for_once_and_again_after_a_fact(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    await asyncio.gather(*(client.get("/api/v1/datalabs") for _ in range(10)))
    assert fakes.times("search_datalabs") == 1
    gnss = fakes.datalabs[0].model_copy(update={"slug": "gnss"})
    fakes.datalabs = [*fakes.datalabs, gnss]
    await fakes.tell(
        events.DATALAB_PUBLISHED, "gnss", DatalabFact(datalab=gnss, revision=1, owner="admin", actor="admin")
    )
    await stage.until(lambda: stage.parts.gateway.catalogue.front_page() is None)
    answers = await asyncio.gather(*(client.get("/api/v1/datalabs") for _ in range(10)))
    assert {answer.json()["total"] for answer in answers} == {2}
    assert fakes.times("search_datalabs") == 2
    assert (await client.get("/api/v1/datalabs?q=gnss")).json()["total"] == 1


async def test_an_answer_from_before_a_fact_is_not_kept(stage: Any) -> None:
    client = await stage.signed_in("ada")
    catalogue = stage.parts.gateway.catalogue
    asked = asyncio.create_task(client.get("/api/v1/datalabs"))
    await stage.until(lambda: catalogue._asked is not None)
    catalogue.changed()
    assert (await asked).status_code == 200
    assert catalogue.front_page() is None


async def test_readiness_is_joined_as_it_is_told(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    assert (await client.get("/api/v1/datalabs")).json()["items"][0]["readiness"] is None
    for revision, fraction in ((2, 0.9), (1, 0.1)):
        readiness = Readiness(
            datalab="jupyterlab", version="4.6", state="preparing", fraction=fraction, revision=revision
        )
        await fakes.tell(
            events.ENVIRONMENT_CHANGED,
            "jupyterlab",
            ReadinessFact(readiness=readiness, revision=revision, owner="launcher", actor="launcher"),
        )
    memory = stage.parts.projection.readiness
    await stage.until(lambda: memory.of("jupyterlab", "4.6") is not None)
    assert (await client.get("/api/v1/datalabs")).json()["items"][0]["readiness"]["fraction"] == 0.9
    assert (await client.get("/api/v1/datalabs/jupyterlab")).json()["readiness"]["fraction"] == 0.9
    assert fakes.times("search_datalabs") == 1


async def test_collections_come_from_memory_without_their_files(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    fakes.collections = [a_collection(2)]
    for revision in (2, 1):
        await fakes.tell(
            events.COLLECTION_CHANGED,
            "iers",
            CollectionFact(
                collection=a_collection(revision, title=f"At {revision}"),
                revision=revision,
                owner="storage",
                actor="storage",
            ),
        )
    await stage.until(lambda: bool(stage.parts.projection.collections.revisions()))
    (item,) = (await client.get("/api/v1/collections")).json()["items"]
    assert item["title"] == "At 2"
    assert item["files"] == []
    assert len((await client.get("/api/v1/collections/iers")).json()["files"]) == 1


async def test_an_icon_is_kept_by_browsers(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    icon = await client.get("/api/v1/datalabs/jupyterlab/icon")
    assert icon.headers["content-type"].startswith("image/svg+xml")
    assert "sandbox" in icon.headers["content-security-policy"]
    again = await client.get(
        "/api/v1/datalabs/jupyterlab/icon", headers={"if-none-match": icon.headers["etag"]}
    )
    assert again.status_code == 304
    assert fakes.times("get_icon") == 1
