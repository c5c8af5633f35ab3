"""Every page in light and dark: nothing that axe-core objects to, nothing in the console."""

import pytest
from playwright.async_api import Browser, Page

from datalabs_client import Datalabs
from tests.browser.driving import Person, Scheme, a_person, findings, settled
from tests.browser.places import PRODUCT
from tests.running import RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]


async def look_at(person: Person, page: Page, names: dict[str, str]) -> list[str]:
    """Look at every page that this person has; the form of the sign-in was seen before."""
    found = []
    for place in PRODUCT.values():
        if place.who == person.username:
            await person.go(page, place.at(names))
            found += await findings(page)
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_a_finding(
    browser: Browser, platform: RunningPlatform, ada: Datalabs, scheme: Scheme
) -> None:
    running = await ada.launch("terminal", name="Running")
    ended = await ada.launch("terminal", name="Ended")
    await ended.stop()
    await ended.until(lambda lab: lab.state.ended, timeout=60)
    shown = await running.ready(timeout=180)
    assert shown.trace_id
    names = {"lab": running.id, "ended": ended.id, "trace": shown.trace_id}
    async with a_person(browser, platform, scheme=scheme) as person:
        page = await person.page()
        await page.goto(platform.url)
        await settled(page)
        found = await findings(page)
        page = await person.sign_in("ada")
        found += await look_at(person, page, names)
        assert (found, person.complaints) == ([], [])
    async with a_person(browser, platform, scheme=scheme) as operator:
        page = await operator.sign_in("admin")
        found = await look_at(operator, page, names)
        assert (found, operator.complaints) == ([], [])


@pytest.mark.parametrize("path", ["/catalogue", "/datalabs/jupyterlab", "/labs", "/data", "/usage"])
async def test_nothing_is_wider_than_a_small_telephone(
    browser: Browser, platform: RunningPlatform, path: str
) -> None:
    async with a_person(browser, platform, width=360, height=740) as person:
        page = await person.sign_in("ada")
        await person.go(page, path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        assert await findings(page) == []
