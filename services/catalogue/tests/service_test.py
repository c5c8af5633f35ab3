"""The whole service over real NATS and PostgreSQL, with the content that ships."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from datalabs_catalogue.app import build
from datalabs_contracts import rpc
from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.datalabs import (
    Citation,
    Collection,
    DatalabQuery,
    DatalabRef,
    SpecificationQuery,
)
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.rpc import RpcClient

CONTENT = Path(__file__).parents[3] / "content"
SHIPPED = {
    "jupyterlab",
    "machine-learning",
    "gnss",
    "web-explorer",
    "terminal",
    "report",
    "linux-desktop",
    "topcat",
    "aladin",
    "ds9",
    "octave",
}


def collection(name: str) -> Collection:
    return Collection(
        id=name,
        title=name,
        abstract="",
        licence="CC0-1.0",
        source="",
        citation=Citation(text=""),
        path=f"/data/{name}",
        bytes=1,
        available=True,
        revision=1,
    )


@pytest.fixture
async def gateway(platform: Any, events: Any, rpc_stub: Any) -> Any:
    """The gateway's side of NATS, with the catalogue running and its content imported."""
    ids = ["iers", "de421", "sun", "rinex"]
    await rpc_stub.answer(rpc.LIST_COLLECTIONS, Page(items=[collection(name) for name in ids]))
    await asyncio.to_thread(platform.add_database, "catalogue")
    platform.configure("platform", content=[str(CONTENT)])
    service = build(platform.config)
    messaging: Messaging = platform.messaging("gateway")
    try:
        await service.start()
        await messaging.start()
        for slug in SHIPPED:
            await events.wait("datalab", slug, "published", seconds=60)
        yield messaging.rpc
    finally:
        await messaging.aclose()
        await service.aclose()


async def test_offers_what_ships(gateway: RpcClient, platform: Any) -> None:
    page = await gateway.call(rpc.SEARCH_DATALABS, DatalabQuery(q="jup"))
    assert page.items[0].slug == "jupyterlab"
    everything = await gateway.call(rpc.LIST_DATALABS, PageQuery())
    assert {card.slug for card in everything.items} == SHIPPED
    detail = await gateway.call(rpc.GET_DATALAB, DatalabRef(slug="jupyterlab"))
    assert detail.versions[0].default_size == "small"
    assert {each.id for each in detail.collections} >= {"iers", "de421"}
    icon = await gateway.call(rpc.GET_ICON, DatalabRef(slug="jupyterlab"))
    assert icon.svg.startswith("<svg")
    launcher = platform.messaging("launcher")
    await launcher.start()
    try:
        environments = await launcher.rpc.call(rpc.LIST_ENVIRONMENTS, PageQuery())
        assert {each.datalab for each in environments.items} == SHIPPED
        specification = await launcher.rpc.call(rpc.GET_SPECIFICATION, SpecificationQuery(datalab="report"))
        assert specification.parameters["years"] == 3
        assert (Path(specification.source) / "datalab-meta.yml").is_file()
        with pytest.raises(ProblemError) as refused:
            await launcher.rpc.call(
                rpc.GET_SPECIFICATION, SpecificationQuery(datalab="report", parameters={"years": "x"})
            )
    finally:
        await launcher.aclose()
    assert refused.value.code == ProblemCode.INVALID_PARAMETERS
    assert refused.value.errors[0].pointer == "/parameters/years"


async def test_what_is_wrong_with_folders_is_for_operators(gateway: RpcClient) -> None:
    with pytest.raises(ProblemError) as refused:
        await gateway.call(rpc.LIST_IMPORT_PROBLEMS, PageQuery())
    assert refused.value.code is ProblemCode.FORBIDDEN
