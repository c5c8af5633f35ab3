"""Ten thousand live labs on an emulated cluster: what launches and lists then cost, and how a restart finds them again.

`python -m tests.bench.scale [LABS]`
"""

import asyncio
import json
import sys
import time
from datetime import datetime
from typing import Any

from datalabs_client import Datalabs
from datalabs_standalone.processes import memory_kib
from tests.bench.clusters import emulated_nomad, facts_of, launch_many, log_of, on_nomad
from tests.bench.figures import Figures, median, quantile, seconds
from tests.bench.launch import TINY
from tests.running import RunningPlatform

LABS = 10_000
AT_ONCE = 24
NODES = 20
AFTERWARDS = 60
LISTS = 100


def memory_mb(platform: RunningPlatform, part: str) -> float:
    return memory_kib([platform.pid_of(part)]) * 1024 / 1e6


async def filled(platform: RunningPlatform, figures: Figures, labs: int) -> int:
    """Launch all labs; return how many became ready."""
    async with platform.client("admin") as datalabs, facts_of(platform) as facts:
        began = time.time()
        posts = await launch_many(datalabs, labs, at_once=AT_ONCE)
        ready = await facts.until("ready", labs, seconds=max(60.0, labs / 10))
    figures.add(
        f"{len(ready)} of {labs} labs live, launched a second to ready",
        len(ready) / (ready[-1] - began),
        "/s",
    )
    figures.add("POST while filling, p99", quantile(posts, 0.99), "s", beside=seconds(posts))
    return len(ready)


async def then(platform: RunningPlatform, figures: Figures, live: int) -> None:
    """Measure launches and lists with so many labs alive."""
    async with platform.client("admin") as datalabs, facts_of(platform) as facts:
        posts, readies = [], []
        for number in range(AFTERWARDS):
            began = time.time()
            lab = await datalabs.launch("contained", size=TINY)
            posts.append(time.time() - began)
            await facts.until("ready", number + 1, seconds=30)
            readies.append(facts.of["ready"].get(lab.id, time.time()) - began)
        figures.add(f"{live} live: POST, p99", quantile(posts, 0.99), "s", beside=f"p50 {median(posts):.3f}")
        figures.add(
            f"{live} live: click to ready, p99",
            quantile(readies, 0.99),
            "s",
            beside=f"p50 {median(readies):.3f}",
        )
        lists = [await _listed(datalabs) for _ in range(LISTS)]
        figures.add(
            f"{live} live: first page of the labs, p99",
            quantile(lists, 0.99),
            "s",
            beside=f"p50 {median(lists):.3f}",
        )
    for part in ("launcher", "gateway"):
        figures.add(f"{live} live: memory of the {part} (PSS)", memory_mb(platform, part), "MB")


async def _listed(datalabs: Datalabs) -> float:
    began = time.perf_counter()
    await datalabs.call("GET", "/labs", params={"everybody": "true", "limit": 50})
    return time.perf_counter() - began


def restarted(platform: RunningPlatform, figures: Figures, live: int) -> None:
    """Kill the launcher and see how long it takes until it has compared all labs with the cluster."""
    began = time.time()
    platform.kill("launcher")
    took = _compared_after(platform, began)
    figures.add(f"{live} live: launcher killed to all compared", took, "s")
    reconcile = [float(line["seconds"]) for line in _comparisons(platform)]
    if reconcile:
        figures.add(f"{live} live: one full comparison", reconcile[-1], "s", beside=f"n {len(reconcile)}")


def _compared_after(platform: RunningPlatform, began: float) -> float:
    deadline = time.time() + 180
    while time.time() < deadline:
        for line in _comparisons(platform):
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            if at > began:
                return at - began
        time.sleep(0.25)
    raise TimeoutError("the launcher never compared its labs with the cluster")


def _comparisons(platform: RunningPlatform) -> list[dict[str, Any]]:
    lines = log_of(platform, "launcher").read_text(errors="replace").splitlines()
    return [json.loads(line) for line in lines if '"watch.compared"' in line]


def main() -> None:
    """Measure and report."""
    labs = int(sys.argv[1]) if len(sys.argv) > 1 else LABS
    figures = Figures("scale")
    with (
        emulated_nomad(nodes=NODES, cores=1000, memory_mib=1_000_000) as address,
        on_nomad(address) as platform,
    ):
        print(f"platform up after {platform.start_seconds:.1f} s; FakeNomad, {NODES} nodes", flush=True)
        live = asyncio.run(filled(platform, figures, labs))
        asyncio.run(then(platform, figures, live))
        restarted(platform, figures, live)
    figures.write()


if __name__ == "__main__":
    main()
