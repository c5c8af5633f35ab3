"""The whole launcher on the emulated Nomad, through the adapter that real clusters have."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from datalabs_contracts.datalabs import ContainerRuntime, Runtime, Runtimes
from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_testing.nomad import Behaviour, Device, FakeNomad, Listening, Node, Pace
from datalabs_testing.nomad.faults import LateReply, LosesReply, NoLeader
from datalabs_testing.nomad.records import Allocation
from datalabs_testing.waiting import eventually

from .conftest import MakeRig, Rig

IMAGE = "labs/stub:1"
QUEUED, READY, STOPPED, FAILED = LabState.QUEUED, LabState.READY, LabState.STOPPED, LabState.FAILED
UNREACHABLE, STARTING = LabState.UNREACHABLE, LabState.STARTING
RING = 21_000 + os.getpid() % 100 * 100
TEN_MINUTES = 600.0


class OnNomad(NomadScheduler):
    """The adapter, with the end that the rig asks of its schedulers."""

    async def close_all(self) -> None:
        """Let go."""
        await self.aclose()


class Site:
    """A launcher on an emulated cluster."""

    def __init__(self, nomad: FakeNomad, make_rig: MakeRig) -> None:
        self.nomad = nomad
        self._make_rig = make_rig
        self.image = IMAGE
        self.rig: Rig

    async def start(self, **settings: Any) -> Rig:
        """Start the launcher."""
        own = {name: settings.pop(name) for name in list(settings) if name.startswith("nomad_")}
        nomad = NomadSettings(nomad_address=self.nomad.address, nomad_wait=3, **own)
        scheduler = OnNomad(settings=nomad, platform="test")
        await scheduler.start()
        self.rig = await self._make_rig(
            scheduler,  # type: ignore[arg-type] - it fills the same port
            runtimes=Runtimes(order=[Runtime.CONTAINER], container=ContainerRuntime(image=self.image)),
            first_port=RING,
            last_port=RING + 99,
            **{"unreachable_after": 0.3, "reconcile": 0.5, **settings},
        )
        return self.rig

    def allocation(self, lab_id: str) -> Allocation:
        """Return the one allocation of a lab."""
        [found] = [one for one in self.nomad.state.allocations.values() if one.job_id == f"lab-{lab_id}-01"]
        return found

    def labs(self) -> list[str]:
        """Return the labs' jobs that Nomad has."""
        return [name for _, name in self.nomad.state.jobs if name.startswith("lab-")]

    def starts(self, lab_id: str) -> int:
        """Return how often a lab was started."""
        return self.nomad.starts[f"lab-{lab_id}-01"]


def cluster(*nodes: Node, **more: Any) -> FakeNomad:
    return FakeNomad(
        nodes=nodes or [Node(name="one", cores=32, cpu=64_000), Node(name="two", cores=32, cpu=64_000)],
        pace=Pace(sync=0.05, urgent_sync=0.05, pull=0.02, heartbeat_ttl=0.3),
        images={IMAGE: Behaviour(start_seconds=0.05)},
        listening=Listening.HTTP,
        **more,
    )


@pytest_asyncio.fixture
async def site(make_rig: MakeRig) -> AsyncIterator[Site]:
    async with cluster() as nomad:
        made = Site(nomad, make_rig)
        yield made
        for instance in made.rig.instances:
            await instance.close()
        await made.rig.scheduler.aclose()


async def test_a_launch_becomes_ready_and_a_stop_ends_it(site: Site) -> None:
    rig = await site.start()
    ready = await rig.until((await rig.launch()).id, READY)
    allocation = site.allocation(ready.id)
    [port] = allocation.resources["Shared"]["Ports"]
    assert (ready.host, ready.port) == ("127.0.0.1", port["Value"])
    timeline = await rig.launcher.views.timeline(ready, None)
    starting = next(phase for phase in timeline.phases if phase.name == "starting")
    assert {"placing", "accepted", "setup", "started"} <= {step.name for step in starting.steps}
    await rig.launcher.wishes.stop(ready, Reason.STOPPED_BY_USER, actor="ada")
    stopped = await rig.until(ready.id, STOPPED)
    assert stopped.reason is Reason.STOPPED_BY_USER
    assert site.starts(ready.id) == 1
    # what has ended is purged, and its secrets too
    await eventually(lambda: not site.labs() and not site.nomad.state.variables)


async def test_a_lost_reply_makes_no_second_lab(site: Site) -> None:
    rig = await site.start()
    fault = site.nomad.faults.add(LosesReply())
    ready = await rig.until((await rig.launch()).id, READY)
    assert fault.met == 1
    assert site.starts(ready.id) == 1
    assert site.labs() == [f"lab-{ready.id}-01"]


async def test_a_late_reply_and_an_election_make_no_second_lab(site: Site) -> None:
    rig = await site.start()
    site.nomad.faults.add(LateReply(seconds=3.5, times=1, method="POST", path="/v1/jobs"))
    late = await rig.launch()
    with site.nomad.suffering(NoLeader(method="POST", times=2)):
        other = await rig.launch()
        for record in (late, other):
            await rig.until(record.id, READY)
            assert site.starts(record.id) == 1


async def test_a_launcher_that_dies_after_placing_finds_its_lab(site: Site) -> None:
    rig = await site.start()
    record = await rig.launch()
    await rig.until(record.id, STARTING, READY)
    await rig.restart()
    await rig.until(record.id, READY)
    assert site.starts(record.id) == 1


async def test_ten_minutes_without_an_agent_cost_no_lab(site: Site) -> None:
    rig = await site.start()
    before = await rig.until((await rig.launch()).id, READY)
    await site.nomad.refuse()
    await site.nomad.advance(TEN_MINUTES)
    away = await rig.until(before.id, UNREACHABLE)
    assert away.host == before.host
    await site.nomad.accept()
    after = await rig.until(before.id, READY)
    assert after.started_at == before.started_at
    assert site.starts(before.id) == 1
    assert "failed" not in await rig.facts(before.id)


async def test_an_end_while_the_agent_was_away_is_told_with_its_own_time(site: Site) -> None:
    rig = await site.start()
    record = await rig.until((await rig.launch()).id, READY)
    await site.nomad.refuse()
    site.nomad.end(f"lab-{record.id}-01", exit_code=7)
    ended_at = site.nomad.timers.now()
    await rig.until(record.id, UNREACHABLE)
    await site.nomad.accept()
    ended = await rig.until(record.id, FAILED)
    assert (ended.reason, ended.exit_code) == (Reason.CRASHED, 7)
    assert ended.ended_at is not None
    assert abs(ended.ended_at.timestamp() - ended_at) < 0.2


async def test_a_machine_out_of_sight_comes_back_with_its_lab(site: Site) -> None:
    rig = await site.start()
    record = await rig.until((await rig.launch()).id, READY)
    name = site.allocation(record.id).node_name
    site.nomad.node_down(name)
    await rig.until(record.id, UNREACHABLE)
    site.nomad.node_up(name)
    await rig.until(record.id, READY)
    assert site.starts(record.id) == 1


async def test_a_machine_that_stays_away_has_lost_its_lab_and_nothing_runs_twice(site: Site) -> None:
    rig = await site.start(nomad_lost_after=1.0)
    record = await rig.until((await rig.launch()).id, READY)
    name = site.allocation(record.id).node_name
    site.nomad.node_lost(name)
    ended = await rig.until(record.id, FAILED)
    assert ended.reason is Reason.NODE_LOST
    site.nomad.node_up(name)
    await asyncio.sleep(1.0)
    assert site.starts(record.id) == 1


async def test_out_of_memory_is_told(site: Site) -> None:
    rig = await site.start()
    record = await rig.until((await rig.launch()).id, READY)
    site.nomad.end(f"lab-{record.id}-01", exit_code=137, out_of_memory=True)
    assert (await rig.until(record.id, FAILED)).reason is Reason.OUT_OF_MEMORY


async def test_a_missing_image_is_the_reason(site: Site) -> None:
    site.image = "labs/nowhere:1"
    rig = await site.start()
    ended = await rig.until((await rig.launch()).id, FAILED)
    assert ended.reason is Reason.IMAGE_UNAVAILABLE
    assert "labs/nowhere:1" in ended.message


async def test_the_state_of_a_job_that_nomad_forgot_early_is_kept(site: Site) -> None:
    rig = await site.start()
    record = await rig.until((await rig.launch()).id, READY)
    site.nomad.say(f"lab-{record.id}-01", "the last word")
    site.nomad.end(f"lab-{record.id}-01", exit_code=3)
    await rig.until(record.id, FAILED)
    site.nomad.collect_garbage()
    await rig.restart()
    kept = await rig.lab(record.id)
    assert (kept.state, kept.exit_code) == (FAILED, 3)
    assert "the last word" in kept.last_lines


async def test_a_lab_with_a_gpu_asks_for_the_device_and_waits_for_it(make_rig: MakeRig) -> None:
    nodes = [Node(name="plain"), Node(name="fast", devices=(Device(model="L40S", count=1),))]
    async with cluster(*nodes) as nomad:
        site = Site(nomad, make_rig)
        rig = await site.start()
        first = await rig.until((await rig.launch(size="gpu")).id, READY)
        allocation = site.allocation(first.id)
        [device] = allocation.resources["Tasks"]["main"]["Devices"]
        assert allocation.node_name == "fast"
        assert device == {"DeviceIDs": ["L40S-0"], "Name": "L40S", "Type": "gpu", "Vendor": "nvidia"}
        second = await rig.launch(size="gpu")
        plain = await rig.until((await rig.launch()).id, READY)
        assert plain.state is READY
        assert (await rig.lab(second.id)).state is QUEUED
        nomad.end(f"lab-{first.id}-01")
        await rig.until(first.id, STOPPED)
        await rig.until(second.id, READY)
        assert site.allocation(second.id).node_name == "fast"
        await rig.instances[-1].close()
        await rig.scheduler.aclose()


async def test_freed_capacity_lets_the_queue_go_on(make_rig: MakeRig) -> None:
    async with cluster(Node(name="small", cores=8, cpu=8_000, memory_mib=32_768)) as nomad:
        site = Site(nomad, make_rig)
        rig = await site.start()
        first = await rig.until((await rig.launch(size="large")).id, READY)
        second = await rig.launch(size="large")
        assert (await rig.lab(second.id)).state is QUEUED
        nomad.end(f"lab-{first.id}-01")
        await rig.until(first.id, STOPPED)
        await rig.until(second.id, READY)
        await rig.instances[-1].close()
        await rig.scheduler.aclose()
