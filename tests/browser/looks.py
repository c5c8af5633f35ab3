"""Pictures of every page of the dashboard with what axe-core finds on it, light and dark, narrow and wide.

    python -m tests.browser.looks build/looks [only-this-page …]

Runs against the platform of fixtures: every state of every page at once, without waiting for it to happen.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, async_playwright

from tests.browser.driving import (
    Person,
    Scheme,
    Site,
    a_person,
    cut_off,
    findings,
    sideways,
    start_chromium,
)
from tests.browser.mocked import mocked
from tests.browser.places import FIXTURES, PLACES, Place

View = Literal["wide", "narrow", "4k"]
VIEWS: dict[View, tuple[int, int]] = {"wide": (1440, 900), "narrow": (360, 760), "4k": (3840, 2160)}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
EXPECTED = ("404", "403", "401")
"""Refusals that some of these pages are about; Chromium's console tells them as errors."""


async def looks(
    browser: Browser,
    site: Site,
    places: Mapping[str, Place],
    *,
    scheme: Scheme,
    view: View,
    target: Path | None = None,
) -> AsyncIterator[str]:
    """Look at the pages, keep pictures of them in `target`, yield one line for each finding."""
    width, height = VIEWS[view]
    for who in sorted({place.who for place in places.values()}):
        async with a_person(browser, site, scheme=scheme, width=width, height=height) as person:
            if who:
                await person.slip_in(who)
            for name, place in places.items():
                if place.who == who:
                    picture = target / f"{name}-{view}-{scheme}.png" if target else None
                    for text in await look(person, place, picture):
                        yield f"{name} {view} {scheme}: {text}"


async def look(person: Person, place: Place, picture: Path | None) -> list[str]:
    """Look at one page; return what is wrong with it."""
    page = await person.opened(place.at(FIXTURES))
    if picture:
        await page.screenshot(path=picture, full_page=True, animations="disabled")
    found = [*await findings(page), *await sideways(page), *await cut_off(page)]
    await page.close()
    complaints, person.complaints = person.complaints, []
    return [*found, *(text for text in complaints if not any(code in text for code in EXPECTED))]


async def take(target: Path, only: set[str]) -> int:
    count = 0
    places = {name: place for name, place in PLACES.items() if not only or name in only}
    with mocked() as site:
        async with async_playwright() as playwright:
            browser = await start_chromium(playwright)
            for scheme in SCHEMES:
                for view in VIEWS:
                    async for line in looks(browser, site, places, scheme=scheme, view=view, target=target):
                        count += 1
                        print(line, flush=True)
            await browser.close()
    print(f"{count} findings")
    return 1 if count else 0


def main() -> int:
    target, only = Path(sys.argv[1]), set(sys.argv[2:])
    target.mkdir(parents=True, exist_ok=True)
    return asyncio.run(take(target, only))


if __name__ == "__main__":
    raise SystemExit(main())
