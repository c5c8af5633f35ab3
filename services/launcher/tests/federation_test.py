"""Several schedulers as one: who runs what, what a silent one means, how their news and machines come together."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import Node, NodeState
from datalabs_launcher.federation import Federation, Member, merged
from datalabs_launcher.scheduler import JobState, LabJob, SchedulerAwayError, SubmitRefusedError

from .fake_scheduler import FakeScheduler
from .local.specification_test import JOB

Two = tuple[FakeScheduler, FakeScheduler, Federation]


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    cluster, here = FakeScheduler(), FakeScheduler()
    cluster.offered, here.offered = [Runtime.CONTAINER], [Runtime.PROCESS, Runtime.CONTAINER]
    yield cluster, here, Federation([Member("cluster", cluster, (Runtime.CONTAINER,)), Member("here", here)])
    await cluster.close_all()
    await here.close_all()


def job(runtime: Runtime, number: int = 1) -> LabJob:
    """A batch job: nothing listens."""
    return replace(JOB, runtime=runtime, job_id=f"lab-k3v9x2abcd-{number:02}", batch=True)


async def test_a_runtime_goes_to_the_first_that_offers_it(two: Two) -> None:
    cluster, here, both = two
    await both.submit(job(Runtime.CONTAINER))
    await both.submit(job(Runtime.PROCESS, 2))
    assert (len(cluster.fakes), len(here.fakes)) == (1, 1)
    assert await both.runtimes() == [Runtime.CONTAINER, Runtime.PROCESS]
    assert {seen.job_id for seen in await both.jobs()} == {"lab-k3v9x2abcd-01", "lab-k3v9x2abcd-02"}


async def test_a_job_stays_where_it_runs_though_another_would_be_preferred(two: Two) -> None:
    cluster, here, both = two
    await here.submit(job(Runtime.CONTAINER))
    await both.submit(job(Runtime.CONTAINER))
    assert not cluster.fakes
    assert here.starts["lab-k3v9x2abcd-01"] == 1


async def test_a_silent_member_is_never_replaced_by_another(two: Two) -> None:
    cluster, here, both = two
    cluster.away = True
    with pytest.raises(SchedulerAwayError):
        await both.submit(job(Runtime.CONTAINER))
    with pytest.raises(SchedulerAwayError):
        await both.get("lab-k3v9x2abcd-01")
    with pytest.raises(SchedulerAwayError):
        await both.jobs()
    assert not here.fakes
    assert await both.runtimes() == [Runtime.CONTAINER, Runtime.PROCESS]
    assert (await both.capacity()).away == ["cluster"]


async def test_what_nobody_runs_is_refused(two: Two) -> None:
    with pytest.raises(SubmitRefusedError, match="vm"):
        await two[2].submit(job(Runtime.VM))


async def test_news_of_all_members_arrive_and_know_their_home(two: Two) -> None:
    cluster, here, both = two
    news = both.watch()
    first = asyncio.ensure_future(anext(news))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await here.submit(job(Runtime.CONTAINER))
    assert (await first).state is JobState.RUNNING
    await both.stop("lab-k3v9x2abcd-01", grace=1)
    assert here.stops["lab-k3v9x2abcd-01"] == 1
    assert not cluster.stops
    await news.aclose()  # type: ignore[attr-defined]


def test_a_machine_known_twice_counts_once() -> None:
    whole = {"cores": 8.0, "memory_mib": 1000, "disk_mib": 500}
    processes = Node(
        name="a", cluster="local", state=NodeState.READY, runtimes=[Runtime.PROCESS], cores_taken=1, **whole
    )
    containers = Node(
        name="a", cluster="local", state=NodeState.READY, runtimes=[Runtime.CONTAINER], cores_taken=2, **whole
    )
    other = Node(name="a", cluster="nomad", state=NodeState.READY, runtimes=[Runtime.CONTAINER], **whole)
    here, there = merged([processes, containers, other])
    assert (here.cores, here.cores_taken) == (8.0, 3.0)
    assert here.runtimes == [Runtime.PROCESS, Runtime.CONTAINER]
    assert there.cluster == "nomad"
