"""Where a lab runs: on the machine on which the queue counted room for it, elsewhere only when that one takes nothing any more."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest_asyncio

from datalabs_contracts.datalabs import ContainerRuntime
from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.scheduler import JobState, LabJob
from datalabs_testing.nomad import Behaviour, FakeNomad, Node, Pace
from datalabs_testing.waiting import eventually

from .jobs import real_job, runs, until

IMAGE = "labs/stub:1"


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeNomad]:
    nodes = [Node(name=name, cores=8, cpu=8_000, memory_mib=4_096) for name in ("one", "two", "three")]
    pace = Pace(sync=0.05, urgent_sync=0.05, pull=0.02, heartbeat_ttl=0.3)
    async with FakeNomad(nodes=nodes, pace=pace, images={IMAGE: Behaviour(start_seconds=0.02)}) as made:
        yield made


@pytest_asyncio.fixture
async def cluster(fake: FakeNomad) -> AsyncIterator[NomadScheduler]:
    made = NomadScheduler(settings=NomadSettings(nomad_address=fake.address, nomad_wait=3), platform="test")
    await made.start()
    yield made
    await made.aclose()


def job(**changes: Any) -> LabJob:
    return replace(real_job(IMAGE), container=ContainerRuntime(image=IMAGE), **changes)


async def test_a_lab_runs_where_room_was_counted_however_full_the_others_are(cluster: NomadScheduler) -> None:
    """The scheduler packs: left alone it would put the second beside the first."""
    for name in ("two", "one", "three", "one"):
        wanted = job(node=name)
        await cluster.submit(wanted)
        assert (await until(cluster, wanted.job_id, runs)).node == name


async def test_a_node_that_nobody_knows_binds_nothing(cluster: NomadScheduler) -> None:
    wanted = job(node="nowhere")
    await cluster.submit(wanted)
    assert (await until(cluster, wanted.job_id, runs)).node in {"one", "two", "three"}


async def test_a_full_machine_is_waited_for_in_plain_words(fake: FakeNomad, cluster: NomadScheduler) -> None:
    first, second = job(node="one", memory_mib=4_000), job(node="one", memory_mib=4_000)
    await cluster.submit(first)
    await until(cluster, first.job_id, runs)
    await cluster.submit(second)

    async def told() -> str:
        seen = await cluster.get(second.job_id)
        assert seen is not None
        return seen.steps[-1].text if "memory" in seen.steps[-1].text else ""

    assert await eventually(told) == "Waiting for a machine: one machine has not enough memory free"
    fake.end(first.job_id)
    assert (await until(cluster, second.job_id, runs)).node == "one"


async def test_a_lab_whose_machine_went_before_it_was_placed_goes_elsewhere(
    fake: FakeNomad, cluster: NomadScheduler
) -> None:
    first, second = job(node="one", memory_mib=4_000), job(node="one", memory_mib=4_000)
    await cluster.submit(first)
    await until(cluster, first.job_id, runs)
    await cluster.submit(second)
    fake.node_down("one")
    seen = await until(cluster, second.job_id, runs)
    assert seen.node in {"two", "three"}
    assert fake.starts[second.job_id] == 1
    assert (await cluster.submit(second)).state is JobState.RUNNING, (
        "it is the same job to whoever asks again"
    )
