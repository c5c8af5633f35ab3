"""Warm launches in each runtime beside the same thing by hand, and how many labs a second a cluster gets to ready.

A runtime that this machine does not offer is named with its reason; nothing is made up for it.
"""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from datalabs_testing.nomad import NomadAgent, NomadUnavailableError, running_agent
from tests.bench.clusters import (
    BENCH_CONTENT,
    COMPUTED,
    CONTAINED,
    PATIENCE,
    emulated_nomad,
    facts_of,
    launch_many,
    on_nomad,
)
from tests.bench.figures import Figures, median, seconds
from tests.bench.launch import NO_LIMITS, click_to_answer, environments_ready, stub_figures
from tests.bench.mocked import mocking
from tests.running import REPOSITORY, TEST_CONTENT, RunningPlatform, running

WARM = 10
SUSTAINED = 300
MOCKED = 150
GOAL_MOCKED = 15.0
AT_ONCE = 24
GOAL_EMULATED = 30.0
IMAGE = "open-datalabs/bench:2"
NODE_SETUP = REPOSITORY / "compose" / "nomad" / "node-setup.sh"
NETWORK, SUBNET = "dlb-nodes", "172.31.78.0/24"
TUNED = "datalabs_answers_early"
"""What a node that was set up so says of itself."""


def why_no_docker() -> str | None:
    """Return why container labs cannot be measured here; None when they can."""
    asked = ["docker", "image", "inspect", "--format", "ok", IMAGE]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no Docker engine ({error})"
    return None if done.returncode == 0 else f"the image {IMAGE} is missing; `make test-docker` makes it"


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def docker_run(script: str, port: int) -> float:
    """Run the stub by hand in a container and return the seconds to its first 200."""
    began = time.perf_counter()
    command = [
        "docker", "run", "--detach", "--rm", "--init", "--cap-drop", "all", "--network", "host",
        "--security-opt", "no-new-privileges", "--volume", f"{script}:/stub.py:ro", "--user", "65534:65534",
        IMAGE, "python3", "-I", "-S", "/stub.py", "127.0.0.1", str(port),
    ]  # fmt: skip
    container = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        while time.perf_counter() - began < 60:
            if answers(port):
                return time.perf_counter() - began
            time.sleep(0.005)
        raise TimeoutError("the container did not answer within a minute")
    finally:
        subprocess.run(["docker", "kill", container], capture_output=True, check=False)


async def containers(platform: RunningPlatform, figures: Figures) -> None:
    script = str(BENCH_CONTENT / "datalabs" / CONTAINED / "stub.py")
    by_hand, clicks, answers_after = [], [], []
    async with platform.client("ada") as datalabs:
        await environments_ready(datalabs, {CONTAINED})
        await click_to_answer(datalabs, CONTAINED, "/")
        for number in range(WARM):
            by_hand.append(await asyncio.to_thread(docker_run, script, 33_100 + number))
            _, ready, first = await click_to_answer(datalabs, CONTAINED, "/")
            clicks.append(ready)
            answers_after.append(first)
    base = median(by_hand)
    figures.add("container: docker run by hand to first 200 (floor), p50", base, "s", beside=seconds(by_hand))
    figures.add("container: click to ready, p50", median(clicks), "s", beside=seconds(clicks))
    figures.add(
        "container: click to the lab's first 200, p50",
        median(answers_after),
        "s",
        beside=seconds(answers_after),
    )


async def sustained(platform: RunningPlatform, figures: Figures) -> None:
    """Launch without a pause and see how many labs a second become ready."""
    async with platform.client("admin") as datalabs, facts_of(platform) as facts:
        await launch_many(datalabs, 5, at_once=5)  # all paths once
        await facts.until("ready", 5, seconds=60)
        before = len(facts.of.get("ready", {}))
        began = time.time()
        posts = await launch_many(datalabs, SUSTAINED, at_once=AT_ONCE)
        ready = await facts.until("ready", before + SUSTAINED)
        ready = ready[before:]
    rate = len(ready) / (ready[-1] - began)
    figures.add(
        f"FakeNomad: {len(ready)} of {SUSTAINED} stubs, launched a second to ready", rate, "/s",
        beside=f"POST {seconds(posts)}", goal=f">= {GOAL_EMULATED:g} /s",
        met=rate >= GOAL_EMULATED and len(ready) == SUSTAINED,
    )  # fmt: skip


async def raw_nomad(agent: NomadAgent, script: str, port: int, network: str) -> float:
    """Register the stub by hand and return the seconds to its first 200."""
    job = {
        "ID": f"raw-{port}",
        "Type": "batch",
        "Datacenters": ["*"],
        "TaskGroups": [
            {
                "Name": "lab",
                "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
                "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
                "Networks": [
                    {"Mode": "host", "ReservedPorts": [{"Label": "lab", "Value": port, "To": port}]}
                ],
                "Tasks": [
                    {
                        "Name": "lab",
                        "Driver": "docker",
                        "Config": {
                            "image": IMAGE,
                            "init": True,
                            "cap_drop": ["all"],
                            "ports": ["lab"],
                            **({"network_mode": network} if network else {}),
                            "args": ["python3", "-I", "-S", "/stub.py", "0.0.0.0", str(port)],
                            "mount": [
                                {"type": "bind", "source": script, "target": "/stub.py", "readonly": True}
                            ],
                        },
                        "Resources": {"CPU": 250, "MemoryMB": 128},
                    }
                ],
            }
        ],
    }
    began = time.perf_counter()
    await agent.request("POST", "/v1/jobs", {"Job": job})
    try:
        while time.perf_counter() - began < 60:
            if await asyncio.to_thread(answers, port):
                return time.perf_counter() - began
            await asyncio.sleep(0.005)
        raise TimeoutError("the job did not answer within a minute")
    finally:
        await agent.request("DELETE", f"/v1/job/raw-{port}?purge=true")


async def nomad_containers(
    agent: NomadAgent, platform: RunningPlatform, figures: Figures, *, network: str
) -> None:
    """Launch by hand and by the platform in turns; a `network` is one that the node's set-up has tuned."""
    name = "Nomad, docker, node tuned" if network else "Nomad, docker, node as it comes"
    script = str(BENCH_CONTENT / "datalabs" / CONTAINED / "stub.py")
    by_hand, clicks, answers_after = [], [], []
    async with platform.client("ada") as datalabs:
        await click_to_answer(datalabs, CONTAINED, "/")
        for number in range(WARM):
            by_hand.append(await raw_nomad(agent, script, 33_300 + number, network))
            _, ready, first = await click_to_answer(datalabs, CONTAINED, "/")
            clicks.append(ready)
            answers_after.append(first)
    base = median(by_hand)
    figures.add(f"{name}: job by hand to first 200 (floor), p50", base, "s", beside=seconds(by_hand))
    figures.add(
        f"{name}: click to ready, p50", median(clicks), "s", beside=seconds(clicks),
        goal="<= floor + 0.15 s", met=median(clicks) <= base + 0.15,
    )  # fmt: skip
    figures.add(
        f"{name}: click to the lab's first 200, p50", median(answers_after), "s",
        beside=seconds(answers_after),
    )  # fmt: skip


async def mock_rate(platform: RunningPlatform, figures: Figures) -> str:
    """Launch batch labs, which are ready when they run: nothing listens behind the mock driver. Return one's job id."""
    async with platform.client("admin") as datalabs, facts_of(platform) as facts:
        began = time.time()
        await launch_many(datalabs, MOCKED, at_once=AT_ONCE, slug=COMPUTED)
        running_labs = await facts.until("ready", MOCKED)
    rate = len(running_labs) / (running_labs[-1] - began)
    figures.add(
        f"Nomad, mock driver: {len(running_labs)} of {MOCKED} stubs, launched a second to running", rate, "/s",
        goal=f">= {GOAL_MOCKED:g} /s", met=rate >= GOAL_MOCKED and len(running_labs) == MOCKED,
    )  # fmt: skip
    return f"lab-{next(iter(facts.of['ready']))}-01"


async def raw_mock_rate(agent: NomadAgent, lab: dict[str, Any], figures: Figures) -> None:
    """Register copies of a lab's own job by hand, each with its variable, as fast as the agent takes them."""
    text, known, slots = json.dumps(lab), str(lab["ID"]), asyncio.Semaphore(AT_ONCE)
    names = [f"raw-{number:04}" for number in range(MOCKED)]

    async def one(name: str) -> None:
        async with slots:
            path = f"nomad/jobs/{name}"
            await agent.request("PUT", f"/v1/var/{path}", {"Path": path, "Items": {"secret": "0" * 64}})
            await agent.request("POST", "/v1/jobs", {"Job": json.loads(text.replace(known, name))})

    async def run() -> int:
        found = await agent.request("GET", "/v1/allocations?prefix=&task_states=false")
        return sum(one["JobID"].startswith("raw-") and one["ClientStatus"] == "running" for one in found)

    began = time.time()
    await asyncio.gather(*(one(name) for name in names))
    while await run() < MOCKED and time.time() - began < PATIENCE:  # noqa: ASYNC110 - an agent is only asked
        await asyncio.sleep(0.1)
    figures.add(
        f"Nomad, mock driver: {MOCKED} such jobs registered by hand, nothing else at work (floor)",
        MOCKED / (time.time() - began),
        "/s",
    )


@contextlib.contextmanager
def tuned_network() -> Iterator[str]:
    """Set this machine up as a node is, under names of the bench's own, and take it back; yields the network."""
    names = {"LABS_NETWORK": NETWORK, "LABS_BRIDGE": NETWORK, "LABS_SUBNET": SUBNET}
    environment = {**os.environ, **names}
    subprocess.run([NODE_SETUP], env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        yield NETWORK
    finally:
        subprocess.run([NODE_SETUP, "remove"], env=environment, check=False)


def on_a_real_agent(figures: Figures, chosen: set[str]) -> None:
    """Measure on agents of the bench's own; what cannot run is named."""
    missing = why_no_docker()
    untuned_only = missing or (None if os.geteuid() == 0 else "the node's set-up needs root")
    if "nomad" in chosen and missing is None:
        _with_agent(figures, _containers(""))
    elif "nomad" in chosen:
        print(f"  Nomad, docker: not measured: {missing}", flush=True)
    if "nomad" in chosen and untuned_only is None:
        with tuned_network() as network:
            _with_agent(figures, _containers(network), meta={TUNED: "true"})
    elif "nomad" in chosen:
        print(f"  Nomad, docker, node tuned: not measured: {untuned_only}", flush=True)
    if "mock" in chosen:
        _with_agent(figures, _mocked)


Measure = Callable[[asyncio.Runner, NomadAgent, Figures], None]


def _with_agent(figures: Figures, measure: Measure, *, meta: dict[str, str] | None = None) -> None:
    with asyncio.Runner() as runner:
        opened = contextlib.AsyncExitStack()
        try:
            agent = runner.run(opened.enter_async_context(running_agent(meta=meta or {})))
        except NomadUnavailableError as error:
            print(f"  Nomad: not measured: {error}", flush=True)
            return
        try:
            measure(runner, agent, figures)
        finally:
            runner.run(opened.aclose())


def _containers(network: str) -> Measure:
    def measure(runner: asyncio.Runner, agent: NomadAgent, figures: Figures) -> None:
        with on_nomad(agent.address, DATALABS_LAUNCHER_NOMAD_NETWORK=network) as platform:
            runner.run(nomad_containers(agent, platform, figures, network=network))

    return measure


def _mocked(runner: asyncio.Runner, agent: NomadAgent, figures: Figures) -> None:
    with mocking(agent.address) as door, on_nomad(door) as platform:
        job_id = runner.run(mock_rate(platform, figures))
        lab = runner.run(agent.request("GET", f"/v1/job/{job_id}"))
    for group in lab["TaskGroups"]:  # by hand any free port will do
        group.pop("Networks", None)
    runner.run(raw_mock_rate(agent, lab, figures))


def on_this_machine(figures: Figures, chosen: set[str]) -> None:
    missing = why_no_docker()
    settings = {**NO_LIMITS, "DATALABS_LAUNCHER_SCHEDULER": "local"}
    with running(content=[TEST_CONTENT, BENCH_CONTENT], settings=settings) as platform:
        if "process" in chosen:
            asyncio.run(_process(platform, figures))
        if "container" in chosen and missing is None:
            asyncio.run(containers(platform, figures))
        elif "container" in chosen:
            print(f"  container: not measured: {missing}", flush=True)


def on_an_emulated_cluster(figures: Figures) -> None:
    with (
        emulated_nomad(nodes=4, cores=1000, memory_mib=1_000_000) as address,
        on_nomad(address) as platform,
    ):
        asyncio.run(sustained(platform, figures))


def main() -> None:
    """Measure what the command line names, or everything, and report."""
    figures = Figures("runtimes")
    chosen = set(sys.argv[1:]) or {"process", "container", "fakenomad", "nomad", "mock"}
    if chosen & {"process", "container"}:
        on_this_machine(figures, chosen)
    if "fakenomad" in chosen:
        on_an_emulated_cluster(figures)
    if chosen & {"nomad", "mock"}:
        on_a_real_agent(figures, chosen)
    figures.write()


async def _process(platform: RunningPlatform, figures: Figures) -> None:
    async with platform.client("ada") as datalabs:
        await environments_ready(datalabs, {"stub"})
    await stub_figures(platform, figures)


if __name__ == "__main__":
    main()
