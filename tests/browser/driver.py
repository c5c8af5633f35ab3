"""Debian's Chromium at the dashboard: start it, sign in, open pages whole, ask axe-core."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = REPOSITORY / "dashboard/node_modules/axe-core/axe.min.js"
WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"}
NARROW: dict[str, Any] = {
    "viewport": {"width": 360, "height": 760},
    "has_touch": True,
    "is_mobile": True,
    "locale": "en-GB",
}
TRIES = 12
SETTLE_SECONDS = 1.2


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium until the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def sign_in(context: BrowserContext, base: str, username: str, password: str) -> None:
    """Sign this browser in without its pages; platforms that are not on a secure origin would drop the cookie."""
    answer = context.request.post(
        f"{base}/api/v1/session",
        data=json.dumps({"username": username, "password": password}),
        headers={"content-type": "application/json", "origin": base},
    )
    if not answer.ok:
        raise RuntimeError(f"sign-in of {username} answered {answer.status}: {answer.text()}")


def sign_in_by_page(page: Page, base: str, username: str, password: str) -> None:
    """Sign in as a person does."""
    page.goto(f"{base}/sign-in")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Catalogue").wait_for()


def launch(page: Page, base: str, slug: str, choices: str = "") -> None:
    """Open a datalab's launch link and press the one button."""
    page.goto(f"{base}/launch/{slug}{choices}")
    page.get_by_role("button", name="Launch", exact=True).click()


def _keep_errors(page: Page, errors: list[str]) -> None:
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)


def settled(context: BrowserContext, path: str) -> tuple[Page, list[str]]:
    """Open a page until it came whole; return it with the errors that its console told.

    Chromium breaks its connections whenever a network interface comes or goes on this machine
    (`ERR_NETWORK_CHANGED`), as when a lab with a network of its own starts.
    """
    for _ in range(TRIES):
        page = context.new_page()
        errors: list[str] = []
        _keep_errors(page, errors)
        try:
            page.goto(path)
            page.wait_for_selector("h1, h2")
        except Error as error:
            errors.append(str(error))
        time.sleep(SETTLE_SECONDS)
        if not any("NETWORK_CHANGED" in text or "interrupted" in text for text in errors):
            return page, errors
        page.close()
    raise RuntimeError(f"{path} never came whole")


def findings(page: Page) -> list[str]:
    """Return what axe-core finds on a page, one line for each rule."""
    # Evaluated rather than added as a script: the page's own policy allows no foreign scripts.
    page.evaluate(AXE.read_text())
    result = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{found['id']} ({found['impact']}): {len(found['nodes'])} times {found['nodes'][0]['target']} "
        f"{found['nodes'][0]['html'][:160]} | {found['nodes'][0]['failureSummary'][:220]}"
        for found in result
    ]


def sideways(page: Page) -> list[str]:
    """Return what makes the page itself scroll sideways."""
    found: list[str] = page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth
          if (document.documentElement.scrollWidth <= width + 1) return []
          return [...document.body.querySelectorAll('*')]
            .filter((element) => element.getBoundingClientRect().right > width + 1 && element.children.length === 0)
            .map((element) => element.outerHTML.slice(0, 120))
            .slice(0, 3)
        }"""
    )
    return found
