"""The API and the edge under load: reads, lab traffic, WebSocket echo and live events, beside their direct floors."""

import asyncio
import json
import time

import aiohttp
from aiohttp import ClientSession, TCPConnector

from datalabs_client import Datalabs, LaunchedLab
from tests.bench.figures import Figures, median, seconds
from tests.bench.launch import NO_LIMITS, environments_ready
from tests.bench.load import get, load
from tests.running import TEST_CONTENT, RunningPlatform, running

ECHOES = 2000
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
    """Authenticated reads through the edge."""
    host = f"localhost:{platform.port}"
    cookie = cookies_of(datalabs.http.cookies.jar)
    for path in (f"/api/v1/labs/{lab.id}", "/api/v1/labs", "/api/v1/datalabs"):
        found = await asyncio.to_thread(load, "127.0.0.1", platform.port, get(path, host, cookie))
        shown = path.replace(lab.id, "{id}")
        figures.add(
            f"GET {shown}, authenticated", found.per_second, "req/s",
            beside=f"p99 {found.latencies[int(len(found.latencies) * 0.99)] * 1e3:.1f} ms, {found.failures} failures",
            goal=">= 1,000 req/s", met=found.per_second >= 1000 and not found.failures,
        )  # fmt: skip


async def lab_traffic(platform: RunningPlatform, figures: Figures, lab: LaunchedLab, cookie: str) -> None:
    """The lab's own answers, directly and through the edge."""
    address, port = await lab_address(platform, lab)
    host = f"{lab.id}.localhost:{platform.port}"
    direct = await asyncio.to_thread(load, address, port, get("/", host))
    figures.add("lab traffic, directly", direct.per_second, "req/s", beside=f"{direct.failures} failures")
    through = await asyncio.to_thread(load, "127.0.0.1", platform.port, get("/", host, cookie))
    figures.add(
        "lab traffic through the edge", through.per_second, "req/s",
        beside=f"{through.per_second / direct.per_second:.2f} of direct, {through.failures} failures",
        goal=">= 8,000 req/s", met=through.per_second >= 8000 and not through.failures,
    )  # fmt: skip
    near = await echo(f"http://{address}:{port}/ws", {})
    figures.add(
        "WebSocket echo, directly, p50", median(near) * 1e3, "ms", beside=seconds([one * 1e3 for one in near])
    )
    far = await echo(
        f"http://127.0.0.1:{platform.port}/ws", {"Host": host, "Cookie": cookie, "Origin": f"http://{host}"}
    )
    figures.add(
        "WebSocket echo through the edge, p50", median(far) * 1e3, "ms", beside=seconds([one * 1e3 for one in far]),
        goal="<= 1.5 x direct", met=median(far) <= 1.5 * median(near),
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
    """From the moment of a change, by the event's own time, to the page's event stream."""
    cookie = cookies_of(datalabs.http.cookies.jar)
    delays: list[float] = []
    headers = {"Host": f"localhost:{platform.port}", "Cookie": cookie, "Accept": "text/event-stream"}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    async with (
        ClientSession(timeout=timeout) as session,
        session.get(f"http://127.0.0.1:{platform.port}/api/v1/events", headers=headers) as stream,
    ):
        asking = asyncio.create_task(_extend(lab))
        while len(delays) < EVENTS:
            line = (await stream.content.readline()).decode()
            if line.startswith("event: lab.extended"):
                arrived = time.time()
                delays.append(arrived - _asked.pop(0))
        await asking
    figures.add(
        "POST sent to its event on the stream (SSE), p50", median(delays), "s", beside=seconds(delays)
    )


_asked: list[float] = []


async def _extend(lab: LaunchedLab) -> None:
    await asyncio.sleep(1)
    for number in range(EVENTS):
        _asked.append(time.time())
        await lab.extend(3600 + number)
        await asyncio.sleep(0.1)


async def measure(platform: RunningPlatform, figures: Figures) -> None:
    async with platform.client("ada") as datalabs:
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
