"""The whole service over real NATS and PostgreSQL."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest

from datalabs_contracts import rpc
from datalabs_contracts.base import PageQuery
from datalabs_contracts.datalabs import Kind
from datalabs_contracts.events import LAB_DELETED
from datalabs_contracts.labs import Lab, LabFact, LabState
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.volumes import PrepareVolumes, VolumesQuery
from datalabs_runtime.facts import headers_of
from datalabs_runtime.permissions import inbox_of
from datalabs_runtime.rpc import RpcClient
from datalabs_storage.app import build

LAB = "k3v9x2abcd"
REQUEST = PrepareVolumes(
    lab_id=LAB, attempt=1, owner="ada", uid=200_001, scratch_mib=100, collections=["words"]
)


async def tell_deleted(platform: Any, event_id: str) -> None:
    """Publish as the launcher that a lab was deleted."""
    now = datetime.now(UTC)
    lab = Lab(
        id=LAB, name="x", owner="ada", datalab="jupyterlab", version="1.0", kind=Kind.NOTEBOOK, size="small",
        state=LabState.STOPPED, attempt=1, revision=9, created_at=now, deleted=True,
    )  # fmt: skip
    fact = LabFact(lab=lab, revision=9, owner="ada", actor="ada")
    client = await nats.connect(
        platform.nats.url,
        user="launcher",
        password=platform.nats.passwords["launcher"],
        inbox_prefix=inbox_of("launcher").encode(),
    )
    headers = headers_of(event_id=event_id, event=LAB_DELETED, entity_id=LAB, source="launcher", moment=now)
    await client.jetstream().publish(
        LAB_DELETED.subject(LAB), fact.model_dump_json().encode(), headers=headers
    )
    await client.close()


@pytest.fixture
async def launcher(platform: Any, tmp_path: Path) -> AsyncIterator[RpcClient]:
    """The launcher's side of NATS, with storage running and a collection installed."""
    folder = tmp_path / "content" / "collections"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "words.txt").write_text("to be")
    (folder / "words.yml").write_text(
        "id: words\ntitle: Words\nabstract: Some.\nlicence: CC0-1.0\nsource: https://example.org\n"
        "citation: {text: Somebody}\nfiles:\n  - {folder: files, member: words.txt, path: words.txt, bytes: 5, "
        "sha256: " + hashlib.sha256(b"to be").hexdigest() + "}\n"
    )
    await asyncio.to_thread(platform.add_database, "storage")
    platform.configure("platform", content=[str(tmp_path / "content")])
    platform.configure("storage", minimum_free_mib=0, wait_for_collection=30)
    service = build(platform.config)
    messaging = platform.messaging("launcher")
    try:
        await service.start()
        await messaging.start()
        yield messaging.rpc
    finally:
        await messaging.aclose()
        await service.aclose()


async def test_a_lab_gets_its_volumes_and_leaves_no_scratch(
    platform: Any, events: Any, launcher: RpcClient
) -> None:
    prepared = await launcher.call(rpc.PREPARE_VOLUMES, REQUEST, act_for="ada", timeout=40)
    targets = {mount.target: Path(mount.source) for mount in prepared.mounts}
    assert set(targets) == {"/media/home", "/media/scratch", "/data/words"}
    assert (targets["/data/words"] / "words.txt").read_text() == "to be"
    told = await events.wait("collection", "words", "changed")
    assert told.data.collection.id == "words"
    await tell_deleted(platform, "event-1")
    await tell_deleted(platform, "event-1")
    await events.wait("volume", None, "released")
    await asyncio.to_thread(gone, targets["/media/scratch"])
    assert targets["/media/home"].is_dir()


async def test_people_see_their_volumes_and_all_collections(launcher: RpcClient, platform: Any) -> None:
    await launcher.call(rpc.PREPARE_VOLUMES, REQUEST, timeout=40)
    gateway = platform.messaging("gateway")
    await gateway.start()
    try:
        volumes = await gateway.rpc.call(rpc.LIST_VOLUMES, VolumesQuery(owner="ada", measure=True))
        collections = await gateway.rpc.call(rpc.LIST_COLLECTIONS, PageQuery())
    finally:
        await gateway.aclose()
    assert [volume.name for volume in volumes.items] == ["home", LAB]
    assert [each.id for each in collections.items] == ["words"]


async def test_a_reason_reaches_the_launcher(launcher: RpcClient) -> None:
    unknown = REQUEST.model_copy(update={"collections": ["nowhere"]})
    with pytest.raises(ProblemError) as refused:
        await launcher.call(rpc.PREPARE_VOLUMES, unknown, timeout=40)
    assert refused.value.code == ProblemCode.UNKNOWN_COLLECTION


def gone(folder: Path) -> None:
    until = time.monotonic() + 20
    while folder.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
