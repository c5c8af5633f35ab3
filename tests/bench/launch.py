"""From the click to the first answer of the lab, beside the same process started by hand."""

import asyncio
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from datalabs_client import Datalabs
from datalabs_contracts.datalabs import ReadinessState
from datalabs_testing.edge import free_port
from tests.bench.figures import Figures, median, quantile, seconds
from tests.running import CONTENT, REPOSITORY, TEST_CONTENT, RunningPlatform, running

STUBS = 20
JUPYTERS = 20
AT_ONCE = 20
BURST = 50
TINY = "tiny"
"""A size of the bench's own for stubs: memory is never overcommitted, and fifty small ones are more than a machine has."""
SIZES = [
    {"name": "small", "title": "Small", "cores": 0.5, "memory_mib": 768, "disk_mib": 2048},
    {"name": TINY, "title": "Tiny", "cores": 0.25, "memory_mib": 128, "disk_mib": 256},
]
NO_LIMITS = {
    "DATALABS_CATALOGUE_SIZES": json.dumps(SIZES),
    "DATALABS_ACCOUNTING_MAX_LABS": "100",
    "DATALABS_ACCOUNTING_MAX_CORES": "200",
    "DATALABS_ACCOUNTING_MAX_MEMORY_MIB": "200000",
    "DATALABS_LAUNCHER_MAX_QUEUED": "200",
}


def floor(command: list[str], path: str, port: int, *, headers: dict[str, str] | None = None) -> float:
    """Start a process by hand and return the seconds to its first 200."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", path, headers=headers or {})
                if connection.getresponse().status == 200:
                    return time.perf_counter() - began
            except OSError:
                time.sleep(0.005)
            finally:
                connection.close()
    finally:
        process.terminate()
        process.wait()


async def click_to_answer(
    datalabs: Datalabs, slug: str, path: str, *, size: str | None = None
) -> tuple[float, float, float]:
    """Launch and visit as a person would; returns seconds to the POST's answer, to ready, to the lab's first 200."""
    began = time.perf_counter()
    lab = await datalabs.launch(slug, size=size) if size else await datalabs.launch(slug)
    posted = time.perf_counter() - began
    await lab.ready(timeout=120)
    ready = time.perf_counter() - began
    async with datalabs.visit(await lab.open()) as browser:
        first = time.perf_counter() - began  # the entrance leads on to the lab's own page, which has answered
        answer = await browser.get(path)
        assert answer.status_code == 200, answer.text
    await lab.stop()
    await lab.ended(timeout=60)
    return posted, ready, first


async def environments_ready(datalabs: Datalabs, slugs: set[str]) -> None:
    """Wait until these can be launched and no other is being made ready: that would be measured, too."""
    async with asyncio.timeout(900):
        while True:
            items = (await datalabs.datalabs()).items
            states = {item.slug: item.readiness.state for item in items if item.readiness}
            ready = {slug for slug, state in states.items() if state is ReadinessState.READY}
            under_way = {ReadinessState.WAITING, ReadinessState.PREPARING} & set(states.values())
            if slugs <= ready and not under_way:
                return
            await asyncio.sleep(1)


def environment_of(platform: RunningPlatform, slug: str) -> Path:
    """Return the folder of a version's environment."""
    return next(
        path.parent.parent for path in sorted((platform.state / "environments").glob(f"{slug}-*/bin/python"))
    )


async def stub_figures(platform: RunningPlatform, figures: Figures) -> None:
    python = environment_of(platform, "stub") / "bin" / "python"
    script = REPOSITORY / "tests" / "datalabs" / "stub" / "stub.py"
    by_hand, posts, clicks, answers = [], [], [], []
    async with platform.client("ada") as datalabs:
        await click_to_answer(datalabs, "stub", "/", size=TINY)
        for _ in range(STUBS):
            port = free_port()
            command = [str(python), "-I", "-S", str(script), "127.0.0.1", str(port)]
            by_hand.append(await asyncio.to_thread(floor, command, "/", port))
            posted, ready, first = await click_to_answer(datalabs, "stub", "/", size=TINY)
            posts.append(posted)
            clicks.append(ready)
            answers.append(first)
    base = median(by_hand)
    figures.add("stub: process by hand to first 200 (floor), p50", base, "s", beside=seconds(by_hand))
    figures.add("stub: POST answered, p50", median(posts), "s", beside=seconds(posts))
    figures.add("stub: click to ready, p50", median(clicks), "s", beside=seconds(clicks))
    figures.add(
        "stub: click to the lab's first 200, p50", median(answers), "s", beside=seconds(answers),
        goal="<= floor + 0.15 s", met=median(answers) <= base + 0.15,
    )  # fmt: skip


async def jupyter_figures(platform: RunningPlatform, figures: Figures) -> None:
    python = environment_of(platform, "jupyterlab") / "bin" / "python"
    home = Path(tempfile.mkdtemp(prefix="bench-home-"))
    by_hand, clicks = [], []
    async with platform.client("ada") as datalabs:
        await click_to_answer(datalabs, "jupyterlab", "/lab")
        for _ in range(JUPYTERS):
            port = free_port()
            command = [
                "env", f"HOME={home}", "DATALABS_LAB_SECRET=floor", str(python), "-I", "-m", "datalabs_lab.jupyter",
                "--port", str(port), "--ServerApp.allow_root=True", f"--ServerApp.root_dir={home}",
            ]  # fmt: skip
            by_hand.append(
                await asyncio.to_thread(
                    floor, command, "/api/status", port, headers={"X-Lab-Secret": "floor"}
                )
            )
            _, ready, _ = await click_to_answer(datalabs, "jupyterlab", "/lab")
            clicks.append(ready)
        shutil.rmtree(home, ignore_errors=True)
        figures.add(
            "JupyterLab: process by hand to first 200 (floor), p50",
            median(by_hand),
            "s",
            beside=seconds(by_hand),
        )
        figures.add(
            "JupyterLab: click to ready, p50", median(clicks), "s", beside=seconds(clicks),
            goal="<= 0.8 s (floor 0.43 s)", met=median(clicks) <= 0.8,
        )  # fmt: skip
        began = time.perf_counter()
        labs = await asyncio.gather(*(datalabs.launch("jupyterlab") for _ in range(AT_ONCE)))
        results = await asyncio.gather(*(lab.ready(timeout=120) for lab in labs), return_exceptions=True)
        took = time.perf_counter() - began
        failures = sum(isinstance(result, BaseException) for result in results)
        figures.add(
            f"{AT_ONCE} JupyterLabs at once: all ready after", took, "s", beside=f"{failures} failures",
            goal="<= 10 s, 0 failures", met=took <= 10 and failures == 0,
        )  # fmt: skip
        await asyncio.gather(*(lab.stop() for lab in labs))
        await asyncio.gather(*(lab.ended(timeout=60) for lab in labs))


async def burst_figures(platform: RunningPlatform, figures: Figures) -> None:
    async with platform.client("ada") as datalabs:

        async def one() -> tuple[float, object]:
            began = time.perf_counter()
            lab = await datalabs.launch("stub", size=TINY)
            return time.perf_counter() - began, lab

        began = time.perf_counter()
        launched = await asyncio.gather(*(one() for _ in range(BURST)))
        posts = [took for took, _ in launched]
        labs = [lab for _, lab in launched]
        results = await asyncio.gather(*(lab.ready(timeout=120) for lab in labs), return_exceptions=True)  # type: ignore[attr-defined]
        all_ready = time.perf_counter() - began
        failures = sum(isinstance(result, BaseException) for result in results)
        await asyncio.gather(*(lab.stop() for lab in labs))  # type: ignore[attr-defined]
        await asyncio.gather(*(lab.ended(timeout=60) for lab in labs))  # type: ignore[attr-defined]
    bare = await asyncio.to_thread(bare_posts)
    figures.add(
        f"{BURST} POSTs at once on FastAPI, FastStream, one transaction, p99",
        quantile(bare, 0.99),
        "s",
        beside=seconds(bare),
    )
    figures.add(
        f"{BURST} stub launches at once: POST, p99", quantile(posts, 0.99), "s", beside=seconds(posts),
        goal="<= 2 x the bare one", met=quantile(posts, 0.99) <= 2 * quantile(bare, 0.99),
    )  # fmt: skip
    figures.add(
        f"{BURST} stub launches at once: all ready after", all_ready, "s", beside=f"{failures} failures"
    )


def bare_posts() -> list[float]:
    """Return the latencies of as many POSTs at once on the bare stack, in a process of its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.bare", str(BURST)],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    return [float(line) for line in answer.stdout.split()]


async def measure(platform: RunningPlatform, figures: Figures) -> None:
    async with platform.client("ada") as datalabs:
        await environments_ready(datalabs, {"stub", "jupyterlab"})
    await stub_figures(platform, figures)
    await burst_figures(platform, figures)
    await jupyter_figures(platform, figures)


def main() -> None:
    """Measure and report."""
    figures = Figures("launch")
    with running(content=[CONTENT, TEST_CONTENT], settings=NO_LIMITS) as platform:
        print(f"platform up after {platform.start_seconds:.1f} s", flush=True)
        asyncio.run(measure(platform, figures))
    figures.write()


if __name__ == "__main__":
    main()
