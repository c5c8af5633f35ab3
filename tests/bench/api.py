"""The API and the edge under load: reads, lab traffic, WebSocket echo and live events, beside their direct floors."""

import asyncio
import json
import time
from datetime import datetime

import aiohttp
from aiohttp import ClientSession, TCPConnector

from datalabs_client import Datalabs, LaunchedLab
from tests.bench.figures import Figures, median, quantile, seconds
from tests.bench.floors import bare_proxies
from tests.bench.launch import NO_LIMITS, environments_ready
from tests.bench.load import Load, get, load, wrk
from tests.running import TEST_CONTENT, RunningPlatform, running

ECHOES = 1000
TURNS = 3
TURN_SECONDS = 2
EVENTS = 20


def cookies_of(jar: object) -> str:
    """Return a cookie header from a client's jar."""
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)  # type: ignore[attr-defined]


async def lab_address(platform: RunningPlatform, lab: LaunchedLab) -> tuple[str, int]:
    """Return where the lab itself listens: the scheduler's own record of the attempt."""
    [folder] = [entry for entry in (platform.state / "labs").iterdir() if lab.id in entry.name]
    about = json.loads((folder / "spec.json").read_text())["about"]
    return about["address"], about["port"]


async def reads(platform: RunningPlatform, figures: Figures, datalabs: Datalabs, lab: LaunchedLab) -> None:
    """Authenticated reads through the edge, by an operator: people are limited to 2,000 a second."""
    host = f"localhost:{platform.port}"
    cookie = cookies_of(datalabs.http.cookies.jar)
    floor = await asyncio.to_thread(load, "127.0.0.1", platform.port, get("/health/live", host))
    figures.add(
        "GET /health/live, no sign-in and no data (floor)", floor.per_second, "req/s", beside=_told(floor)
    )
    for path in (f"/api/v1/labs/{lab.id}", "/api/v1/labs", "/api/v1/datalabs"):
        found = await asyncio.to_thread(load, "127.0.0.1", platform.port, get(path, host, cookie))
        shown = path.replace(lab.id, "{id}")
        figures.add(
            f"GET {shown}, authenticated", found.per_second, "req/s", beside=_told(found),
            goal=">= 1,000 req/s",
            met=found.per_second >= 1000 and not found.failures and not found.limited,
        )  # fmt: skip


def _told(found: Load) -> str:
    late = quantile(found.latencies, 0.99)
    return f"p99 {late * 1e3:.1f} ms, {found.failures} failures, {found.limited} 429s"


async def lab_traffic(platform: RunningPlatform, figures: Figures, lab: LaunchedLab, cookie: str) -> None:
    """The lab's own answers: directly, through bare proxies, through the edge; in turns, the best of each."""
    address, port = await lab_address(platform, lab)
    host = f"{lab.id}.localhost:{platform.port}"
    headers = {"Host": host, "Cookie": cookie}
    sockets = {**headers, "Origin": f"http://{host}"}
    with bare_proxies(address, port) as floors:
        ways = {
            "directly": (address, port),
            "through a bare TCP proxy (floor)": ("127.0.0.1", floors.tcp),
            "through a bare HTTP proxy (floor)": ("127.0.0.1", floors.http),
            "through the edge": ("127.0.0.1", platform.port),
        }
        loads: dict[str, list[Load]] = {way: [] for way in ways}
        echoes: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(TURNS):
            for way, (name, number) in ways.items():
                loads[way].append(await asyncio.to_thread(wrk, name, number, headers, seconds=TURN_SECONDS))
            for way, (name, number) in ways.items():
                echoes[way].append(median(await echo(f"http://{name}:{number}/ws", sockets)))
    direct = max(one.per_second for one in loads["directly"])
    for way, found in loads.items():
        best = max(one.per_second for one in found)
        failures = sum(one.failures for one in found)
        goal = way == "through the edge"
        figures.add(
            f"lab traffic {way}", best, "req/s", beside=f"{best / direct:.2f} of direct, {failures} failures",
            goal=">= 8,000 req/s" if goal else "", met=best >= 8000 and not failures if goal else None,
        )  # fmt: skip
    near = min(echoes["directly"])
    for way, took in echoes.items():
        best = min(took)
        goal = way == "through the edge"
        figures.add(
            f"WebSocket echo {way}, p50", best * 1e3, "ms",
            beside=f"{best / near:.2f} x direct, best of {TURNS} turns",
            goal="<= 1.5 x direct" if goal else "", met=best <= 1.5 * near if goal else None,
        )  # fmt: skip


async def echo(url: str, headers: dict[str, str]) -> list[float]:
    """Send short texts one after another and return each one's way there and back in seconds."""
    took = []
    async with (
        ClientSession(connector=TCPConnector()) as session,
        session.ws_connect(url, headers=headers) as ws,
    ):
        for number in range(ECHOES):
            began = time.perf_counter()
            await ws.send_str(f"{number:032d}")
            await ws.receive_str()
            took.append(time.perf_counter() - began)
    return took[ECHOES // 10 :]


async def live_events(
    platform: RunningPlatform, figures: Figures, datalabs: Datalabs, lab: LaunchedLab
) -> None:
    """From the moment of a change to a page's event stream: by the event's own time, and from the POST."""
    cookie = cookies_of(datalabs.http.cookies.jar)
    asked: list[float] = []
    since_event: list[float] = []
    since_post: list[float] = []
    headers = {"Host": f"localhost:{platform.port}", "Cookie": cookie, "Accept": "text/event-stream"}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    async with (
        ClientSession(timeout=timeout) as session,
        session.get(f"http://127.0.0.1:{platform.port}/api/v1/events", headers=headers) as stream,
    ):
        asking = asyncio.create_task(_extend(lab, asked))
        while len(since_post) < EVENTS:
            if (await stream.content.readline()).startswith(b"event: lab.extended"):
                data = await stream.content.readline()
                arrived = time.time()
                happened = datetime.fromisoformat(json.loads(data.removeprefix(b"data:"))["time"])
                since_event.append(arrived - happened.timestamp())
                since_post.append(arrived - asked[len(since_post)])
        await asking
    figures.add(
        "event's own time to the stream (SSE), p50", median(since_event), "s", beside=seconds(since_event)
    )
    figures.add(
        "POST sent to its event on the stream, p50", median(since_post), "s", beside=seconds(since_post)
    )


async def _extend(lab: LaunchedLab, asked: list[float]) -> None:
    await asyncio.sleep(1)
    for number in range(EVENTS):
        asked.append(time.time())
        await lab.extend(3600 + number)
        await asyncio.sleep(0.1)


async def measure(platform: RunningPlatform, figures: Figures) -> None:
    async with platform.client("admin") as datalabs:
        await environments_ready(datalabs, {"echo"})
        lab = await datalabs.launch("echo")
        await lab.ready(timeout=120)
        await reads(platform, figures, datalabs, lab)
        async with datalabs.visit(await lab.open()) as browser:
            await browser.get("/")
            await lab_traffic(platform, figures, lab, cookies_of(browser.cookies.jar))
        await live_events(platform, figures, datalabs, lab)
        await lab.stop()
        await lab.ended(timeout=60)


def main() -> None:
    """Measure and report."""
    figures = Figures("api")
    with running(content=[TEST_CONTENT], settings=NO_LIMITS) as platform:
        asyncio.run(measure(platform, figures))
    figures.write()


if __name__ == "__main__":
    main()
