"""Chromium, driven as a person drives it: sign in, look, click, type; and what it complained about."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from playwright.async_api import (
    Browser,
    BrowserContext,
    Error,
    Locator,
    Page,
    Playwright,
    Request,
    expect,
)

from tests.running import REPOSITORY

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
TRIES = 12
"""How often a page is opened until it came whole."""
NETWORK_CHANGED = ("ERR_NETWORK_CHANGED", "interrupted by another navigation")
"""Chromium breaks its connections whenever a network interface comes or goes on this machine, as when a lab starts."""
PHONE = 500
"""Viewports narrower than this are telephones: touch, no pointer."""

T = TypeVar("T")
Scheme = Literal["light", "dark"]
expect.set_options(timeout=PATIENCE * 1000)


class Site(Protocol):
    """A platform that a browser can look at: a running one or the one of fixtures."""

    @property
    def url(self) -> str:
        """Its address."""

    def credentials(self) -> dict[str, str]:
        """Return passwords by user name."""


async def start_chromium(playwright: Playwright) -> Browser:
    """Start Debian's browser; nothing is downloaded."""
    return await playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))


@dataclass
class Person:
    """One browser of its own with somebody in front of it."""

    site: Site
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
        if any(words in text for words in NETWORK_CHANGED):
            return  # this machine's doing, not the page's
        if urlsplit(page.url).netloc == urlsplit(self.site.url).netloc:
            self.complaints.append(f"{page.url}: {text}")

    async def sign_in(self, username: str, *, at: str = "/") -> Page:
        """Open the front door by the form, as everybody does."""
        page = await self.page()
        await whole(page, self.site.url + at)
        await page.get_by_label("User name").fill(username)
        await page.get_by_label("Password", exact=True).fill(self.site.credentials()[username])
        self.username = username
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("button", name=re.compile("^Me: "))).to_be_visible()
        return page

    async def slip_in(self, username: str) -> None:
        """Sign in without the form, where the site's cookie needs no secure origin."""
        answer = await self.context.request.post(
            f"{self.site.url}/api/v1/session",
            data=json.dumps({"username": username, "password": self.site.credentials()[username]}),
            headers={"content-type": "application/json", "origin": self.site.url},
        )
        if not answer.ok:
            raise RuntimeError(f"the sign-in of {username} answered {answer.status}")
        self.username = username

    async def go(self, page: Page, path: str) -> None:
        """Go to a page of the dashboard and wait until it has its content."""
        await whole(page, self.site.url + path)
        await settled(page)

    async def opened(self, path: str) -> Page:
        """Open a page in a tab of its own."""
        page = await self.page()
        await self.go(page, path)
        return page


@contextlib.asynccontextmanager
async def a_person(
    browser: Browser,
    site: Site,
    *,
    scheme: Scheme = "light",
    width: int = 1440,
    height: int = 900,
    calm: bool = True,
) -> AsyncIterator[Person]:
    """Give somebody a fresh browser profile; `calm` asks pages to reduce motion."""
    context = await browser.new_context(
        base_url=site.url,
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce" if calm else "no-preference",
        is_mobile=width < PHONE,
        has_touch=width < PHONE,
        locale="en-GB",
        timezone_id="Europe/Rome",
    )
    context.set_default_timeout(PATIENCE * 1000)
    try:
        yield Person(site, context)
    finally:
        await context.close()


async def whole(page: Page, url: str) -> None:
    """Go to an address until it comes."""
    for _ in range(TRIES):
        try:
            await page.goto(url)
        except Error as error:
            if not any(words in str(error) for words in NETWORK_CHANGED):
                raise
            await asyncio.sleep(0.25)
        else:
            return
    raise TimeoutError(f"{url} never came whole")


async def settled(page: Page) -> None:
    """Wait until the page shows a heading of its own and waits for nothing."""
    await expect(page.locator("h1").first).to_be_attached()
    await expect(page.locator("[aria-busy=true], [class*=_shape_]")).to_have_count(0)
    await page.evaluate("document.fonts.ready.then(() => undefined)")


async def findings(page: Page) -> list[str]:
    """Return what axe-core finds on the page, one line a finding."""
    # Evaluated rather than added as a script: the page's own policy allows no foreign scripts.
    await page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = await page.evaluate("axe.run().then((result) => result.violations)")
    return [
        f"{urlsplit(page.url).path} {finding['id']}: {node['target']} {node['failureSummary']}"
        for finding in found
        for node in finding["nodes"]
    ]


async def sideways(page: Page) -> list[str]:
    """Return what makes the page itself scroll sideways."""
    found: list[str] = await page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth
          if (document.documentElement.scrollWidth <= width + 1) return []
          return [...document.body.querySelectorAll('*')]
            .filter((element) => element.getBoundingClientRect().right > width + 1 && element.children.length === 0)
            .map((element) => element.outerHTML.slice(0, 120))
            .slice(0, 3)
        }"""
    )
    return [f"{urlsplit(page.url).path} scrolls sideways by {element}" for element in found]


async def cut_off(page: Page) -> list[str]:
    """Return values that are shown with an ellipsis: a number that is cut says something else."""
    found: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll('output')]
          .filter((element) => element.scrollWidth > element.clientWidth + 1)
          .map((element) => element.textContent)"""
    )
    return [f"{urlsplit(page.url).path} cuts {text!r}" for text in found]


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


DRAWN = "(image) => image.complete && image.naturalWidth > 0"


async def run_in_a_notebook(page: Page, code: str, answer: re.Pattern[str]) -> None:
    """Make a notebook in the real JupyterLab and run a cell, once its kernel is there: before that it would do nothing."""
    card = page.locator(".jp-LauncherCard[data-category=Notebook]").first
    await eventually(lambda: card.locator("img").evaluate(DRAWN))  # the kernel's logo
    await card.click()
    notebook = page.locator(".jp-NotebookPanel:visible")
    await notebook.locator(".jp-Cell .cm-content").first.click()
    await expect(notebook.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle")
    await page.keyboard.type(code)
    await page.keyboard.press("Shift+Enter")
    await expect(notebook.locator(".jp-OutputArea-output").first).to_contain_text(answer)


async def arrival(page: Page, site: Site, path: str, *, seconds: float = 240) -> str:
    """Wait until the launching page has gone to the lab by itself; return the lab's id."""
    await page.wait_for_url(re.compile(r"/labs/[a-z0-9]{10}/launching$"))
    lab_id = page.url.split("/")[-2]
    address = re.compile(rf"^http://{lab_id}\.localhost:{urlsplit(site.url).port}{path}")
    await page.wait_for_url(address, timeout=seconds * 1000, wait_until="commit")
    return lab_id


def card(page: Page, name: str) -> Locator:
    """Return the card of a lab that runs."""
    return page.get_by_role("article", name=re.compile(f"^{re.escape(name)}: "))
