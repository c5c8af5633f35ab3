"""Pictures of every page of the running product, under build/screenshots: `python -m tests.browser.screenshots`.

`--readme` also renews the picture of the README.
"""

import asyncio
import re
import sys

from playwright.async_api import Browser, Page, async_playwright, expect

from datalabs_client import Datalabs
from tests.browser.driving import Person, Scheme, a_person, settled, start_chromium
from tests.browser.places import PRODUCT
from tests.running import CONTENT, REPOSITORY, RunningPlatform, running

FOLDER = REPOSITORY / "build/screenshots"
README_PICTURE = REPOSITORY / "docs/dashboard.png"
NARROW = ("catalogue", "datalab", "labs", "lab", "usage")
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


async def picture(page: Page, name: str) -> None:
    """Keep what the page shows, whole."""
    await settled(page)
    await page.screenshot(path=FOLDER / f"{name}.png", full_page=True, animations="disabled")
    print(f"{name}.png", flush=True)


async def some_use(ada: Datalabs) -> dict[str, str]:
    """Leave something to see on every page: labs that run, one that ended, a report, their use."""
    notebook = await ada.launch("jupyterlab", name="Earth rotation since 1962")
    explorer = await ada.launch("web-explorer", name="Length of day, by slider")
    ended = await ada.launch("terminal", name="Sorting the archive")
    shown = await notebook.ready(timeout=300)
    await explorer.ready(timeout=300)
    await ended.ready(timeout=300)
    await ended.stop()
    await ended.until(lambda lab: lab.state.ended, timeout=60)
    assert shown.trace_id
    return {"lab": notebook.id, "ended": ended.id, "trace": shown.trace_id}


async def launching(page: Page, platform: RunningPlatform, scheme: Scheme) -> None:
    """Hold the launching page, which would go to the lab by itself."""
    await page.evaluate("localStorage.setItem('datalabs-go-by-itself', 'no')")
    await page.goto(f"{platform.url}/launch/terminal")
    await page.get_by_role("button", name=re.compile("^Launch")).click()
    await page.wait_for_url(re.compile("/launching$"))
    await picture(page, f"launching-{scheme}")
    await expect(page.get_by_role("link", name="Go to the lab")).to_be_visible()
    await picture(page, f"launched-{scheme}")


async def each(person: Person, page: Page, names: dict[str, str], scheme: Scheme) -> None:
    for name, place in PRODUCT.items():
        if place.who == person.username:
            await person.go(page, place.at(names))
            await picture(page, f"{name}-{scheme}")


async def wide(browser: Browser, platform: RunningPlatform, names: dict[str, str], scheme: Scheme) -> None:
    async with a_person(browser, platform, scheme=scheme) as person:
        page = await person.page()
        await person.go(page, "/sign-in")
        await picture(page, f"sign-in-{scheme}")
        page = await person.sign_in("ada")
        await each(person, page, names, scheme)
        await launching(page, platform, scheme)
    async with a_person(browser, platform, scheme=scheme) as operator:
        page = await operator.sign_in("admin")
        await each(operator, page, names, scheme)


async def narrow(browser: Browser, platform: RunningPlatform, names: dict[str, str]) -> None:
    async with a_person(browser, platform, width=360, height=740) as person:
        page = await person.sign_in("ada")
        for name in NARROW:
            await person.go(page, PRODUCT[name].at(names))
            await picture(page, f"{name}-360")


async def for_the_readme(browser: Browser, platform: RunningPlatform) -> None:
    async with a_person(browser, platform, width=1280, height=800) as person:
        page = await person.sign_in("ada", at="/catalogue")
        await settled(page)
        await page.screenshot(path=README_PICTURE, animations="disabled")
        print(README_PICTURE.relative_to(REPOSITORY), flush=True)


async def take(platform: RunningPlatform, *, readme: bool) -> None:
    async with platform.client("ada") as ada, async_playwright() as playwright:
        names = await some_use(ada)
        browser = await start_chromium(playwright)
        if readme:
            await for_the_readme(browser, platform)
        for scheme in SCHEMES:
            await wide(browser, platform, names, scheme)
        await narrow(browser, platform, names)
        await browser.close()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running(content=[CONTENT]) as platform:
        asyncio.run(take(platform, readme="--readme" in sys.argv[1:]))


if __name__ == "__main__":
    main()
