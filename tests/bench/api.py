"""The API and the edge under load: reads, lab traffic, WebSocket echo and live events, beside their direct floors."""

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime

import aiohttp
from aiohttp import ClientSession, TCPConnector, UnixConnector

from datalabs_client import Datalabs, LaunchedLab
from datalabs_standalone.processes import cpu_seconds
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
    await asyncio.to_thread(
        load, "127.0.0.1", platform.port, get(f"/api/v1/labs/{lab.id}", host, cookie), seconds=1
    )
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


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to the lab; `pid` is the proxy's on it."""

    name: str
    host: str
    port: int
    pid: int | None = None


async def lab_traffic(platform: RunningPlatform, figures: Figures, lab: LaunchedLab, cookie: str) -> None:
    """The lab's own answers: directly, through bare proxies, through the edge; in turns, the best of each."""
    address, port = await lab_address(platform, lab)
    host = f"{lab.id}.localhost:{platform.port}"
    headers = {"Host": host, "Cookie": cookie}
    edge = Way(name="through the edge", host="127.0.0.1", port=platform.port, pid=platform.pid_of("envoy"))
    before = await edge_counters(platform)
    with bare_proxies(address, port) as floors:
        bare = Way(
            name="through a bare HTTP proxy (floor)", host="127.0.0.1", port=floors.http, pid=floors.pid
        )
        ways = (
            Way(name="directly", host=address, port=port),
            Way(name="through a bare TCP proxy (floor)", host="127.0.0.1", port=floors.tcp),
            bare,
            edge,
        )
        loads: dict[Way, list[Load]] = {way: [] for way in ways}
        costs: dict[Way, list[float]] = {way: [] for way in ways}
        echoes: dict[Way, list[float]] = {way: [] for way in ways}
        for _ in range(TURNS):
            for way in ways:
                used = cpu_seconds([way.pid] if way.pid else [])
                found = await asyncio.to_thread(wrk, way.host, way.port, headers, seconds=TURN_SECONDS)
                loads[way].append(found)
                costs[way].append((cpu_seconds([way.pid] if way.pid else []) - used) / found.requests)
            for way in ways:
                url = f"http://{way.host}:{way.port}/ws"
                echoes[way].append(median(await echo(url, {**headers, "Origin": f"http://{host}"})))
    after = await edge_counters(platform)
    _show_loads(figures, loads, edge)
    figures.add(
        "processor time of the edge a request", min(costs[edge]) * 1e6, "µs",
        beside=f"{min(costs[edge]) / min(costs[bare]):.2f} x the bare HTTP proxy's {min(costs[bare]) * 1e6:.0f}",
    )  # fmt: skip
    passed = after["requests"] - before["requests"]
    figures.add(
        "of these requests traced", 100 * (after["traced"] - before["traced"]) / passed, "%",
        beside=f"{after['asked'] - before['asked']} of {passed} asked the gateway", goal="about 1 %, none asked",
    )  # fmt: skip
    _show_echoes(figures, echoes, edge)


def _show_loads(figures: Figures, loads: dict[Way, list[Load]], edge: Way) -> None:
    direct = max(max(one.per_second for one in found) for found in loads.values())
    for way, found in loads.items():
        best = max(one.per_second for one in found)
        failures = sum(one.failures for one in found)
        figures.add(
            f"lab traffic {way.name}", best, "req/s", beside=f"{best / direct:.2f} of the best, {failures} failures",
            goal=">= 8,000 req/s" if way is edge else "",
            met=best >= 8000 and not failures if way is edge else None,
        )  # fmt: skip


def _show_echoes(figures: Figures, echoes: dict[Way, list[float]], edge: Way) -> None:
    near = min(min(took) for took in echoes.values())
    for way, took in echoes.items():
        best = min(took)
        figures.add(
            f"WebSocket echo {way.name}, p50", best * 1e3, "ms",
            beside=f"{best / near:.2f} x the best, best of {TURNS} turns",
            goal="<= 1.5 x direct" if way is edge else "", met=best <= 1.5 * near if way is edge else None,
        )  # fmt: skip


async def edge_counters(platform: RunningPlatform) -> dict[str, int]:
    """Return what the edge itself has counted: requests, those traced, those for which it asked the gateway."""
    names = {
        "http.edge.downstream_rq_completed": "requests",
        "http.edge.tracing.random_sampling": "traced",
        "http.edge.ext_authz.ok": "asked",
        "http.edge.ext_authz.denied": "asked",
    }
    counted = dict.fromkeys(names.values(), 0)
    async with (
        ClientSession(connector=UnixConnector(str(platform.state / "run" / "envoy-admin.sock"))) as admin,
        admin.get("http://envoy/stats") as answer,
    ):
        for line in (await answer.text()).splitlines():
            name, _, value = line.partition(": ")
            if name in names:
                counted[names[name]] += int(value)
    return counted


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
        async with asyncio.timeout(EVENTS + 30):
            while len(since_post) < EVENTS:
                line = await stream.content.readline()
                if not line or (asking.done() and asking.exception()):
                    break
                if not line.startswith(b"data:"):
                    continue
                arrived = time.time()
                fact = json.loads(line.removeprefix(b"data:"))
                if (fact.get("entity"), fact.get("fact")) == ("lab", "extended"):
                    since_event.append(arrived - datetime.fromisoformat(fact["time"]).timestamp())
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
