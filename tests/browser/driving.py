"""Chromium, driven as a person drives it: sign in, look, click, type; and what it complained about."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Locator, Page, Playwright, Request, expect

from tests.running import REPOSITORY, RunningPlatform

CHROMIUM = "/usr/bin/chromium"
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = REPOSITORY / "dashboard/node_modules/axe-core/axe.min.js"
PATIENCE = 60.0
"""Seconds that anything on a page may take on a busy machine."""

T = TypeVar("T")
Scheme = Literal["light", "dark"]
expect.set_options(timeout=PATIENCE * 1000)


async def start_chromium(playwright: Playwright) -> Browser:
    """Start Debian's browser; nothing is downloaded."""
    return await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))


@dataclass
class Person:
    """One browser of its own with somebody in front of it."""

    platform: RunningPlatform
    context: BrowserContext
    username: str = ""
    complaints: list[str] = field(default_factory=list)
    """Errors of the console and of scripts on the dashboard's own pages."""

    async def page(self) -> Page:
        page = await self.context.new_page()
        page.on("pageerror", lambda error: self._complain(page, str(error)))
        page.on(
            "console",
            lambda said: (
                self._complain(page, f"{said.text} {said.location}") if said.type == "error" else None
            ),
        )
        return page

    def _complain(self, page: Page, text: str) -> None:
        if not self.username:
            return  # Chromium names each answer of 401 an error; whoever has not signed in gets one
        if urlsplit(page.url).netloc == urlsplit(self.platform.url).netloc:
            self.complaints.append(f"{page.url}: {text}")

    async def sign_in(self, username: str, *, at: str = "/") -> Page:
        """Open the front door by the form, as everybody does."""
        page = await self.page()
        await page.goto(self.platform.url + at)
        await page.get_by_label("User name").fill(username)
        await page.get_by_label("Password", exact=True).fill(self.platform.credentials()[username])
        self.username = username
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("button", name=re.compile("^Me: "))).to_be_visible()
        return page

    async def go(self, page: Page, path: str) -> None:
        """Go to a page of the dashboard and wait until it has its content."""
        await page.goto(self.platform.url + path)
        await settled(page)


@contextlib.asynccontextmanager
async def a_person(
    browser: Browser,
    platform: RunningPlatform,
    *,
    scheme: Scheme = "light",
    width: int = 1440,
    height: int = 900,
    calm: bool = True,
) -> AsyncIterator[Person]:
    """Give somebody a fresh browser profile; `calm` asks pages to reduce motion."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce" if calm else "no-preference",
        is_mobile=width < 500,
        has_touch=width < 500,
        locale="en-GB",
        timezone_id="Europe/Rome",
    )
    context.set_default_timeout(PATIENCE * 1000)
    try:
        yield Person(platform, context)
    finally:
        await context.close()


async def settled(page: Page) -> None:
    """Wait until the page shows a heading of its own and waits for nothing."""
    await expect(page.locator("h1").first).to_be_attached()
    await expect(page.locator("[aria-busy=true], [class*=_shape_]")).to_have_count(0)
    await page.evaluate("document.fonts.ready.then(() => undefined)")


async def findings(page: Page) -> list[str]:
    """Return what axe-core finds on the page, one line a finding."""
    await page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = await page.evaluate("axe.run().then((result) => result.violations)")
    return [
        f"{urlsplit(page.url).path} {finding['id']}: {node['target']} {node['failureSummary']}"
        for finding in found
        for node in finding["nodes"]
    ]


async def eventually(ask: Callable[[], Awaitable[T | None]], *, seconds: float = PATIENCE) -> T:
    """Ask until there is an answer: what is told by events takes its moment."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await ask()
            if answer:
                return answer
            await asyncio.sleep(0.1)


@dataclass
class EventConnections:
    """The event connections that the tabs of one browser made."""

    begun: set[Request] = field(default_factory=set)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", self._begun)
        context.on("requestfinished", self._ended)
        context.on("requestfailed", self._ended)

    def open(self) -> list[Request]:
        """Return those that are open now; a tab takes its own with it when it closes."""
        return [request for request in self.begun if not request.frame.page.is_closed()]

    def _begun(self, request: Request) -> None:
        if urlsplit(request.url).path == "/api/v1/events":
            self.begun.add(request)

    def _ended(self, request: Request) -> None:
        self.begun.discard(request)


async def launch(page: Page, title: str) -> None:
    """Press the one button of the launch panel."""
    panel = page.get_by_role("form", name=f"Launch {title}")
    await expect(panel.get_by_text(re.compile("Fits now|Waits in the queue"))).to_be_visible()
    await panel.get_by_role("button", name=re.compile("^Launch")).click()


async def arrival(page: Page, platform: RunningPlatform, path: str, *, seconds: float = 240) -> str:
    """Wait until the launching page has gone to the lab by itself; return the lab's id."""
    await page.wait_for_url(re.compile(r"/labs/[a-z0-9]{10}/launching$"))
    lab_id = page.url.split("/")[-2]
    address = re.compile(rf"^http://{lab_id}\.localhost:{platform.port}{path}")
    await page.wait_for_url(address, timeout=seconds * 1000, wait_until="commit")
    return lab_id


def card(page: Page, name: str) -> Locator:
    """Return the card of a lab that runs."""
    return page.get_by_role("article", name=re.compile(f"^{re.escape(name)}: "))
