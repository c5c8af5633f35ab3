"""Pages stay true by themselves: in ten tabs at once, and when the platform falls and rises."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from datalabs_client import Datalabs
from tests.browser.driving import EventConnections, Person, card
from tests.running import RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")]

TABS = 10


async def test_ten_tabs_share_one_event_connection(person: Person, ada: Datalabs) -> None:
    connections = EventConnections()
    connections.watch(person.context)
    tabs = [await person.sign_in("ada", at="/labs")]
    for _ in range(TABS - 1):
        tab = await person.page()
        await person.go(tab, "/labs")
        tabs.append(tab)
    lab = await ada.launch("terminal", name="Seen everywhere")
    await asyncio.gather(*(expect(card(tab, "Seen everywhere")).to_be_visible() for tab in tabs))
    await lab.ready(timeout=180)
    ready = re.compile("Seen everywhere: Ready")
    await asyncio.gather(*(expect(tab.get_by_role("article", name=ready)).to_be_visible() for tab in tabs))
    assert len(connections.open()) == 1

    # The tab that reads for all closes: another takes over, and nothing is missed.
    await tabs.pop(0).close()
    await lab.stop()
    await asyncio.gather(*(expect(tab.locator("details")).to_contain_text("You stopped it.") for tab in tabs))
    assert len(connections.open()) == 1
    assert person.complaints == []


async def test_the_page_recovers_when_the_gateway_is_killed(
    person: Person, platform: RunningPlatform, ada: Datalabs
) -> None:
    page = await person.sign_in("ada", at="/labs")
    await expect(page.get_by_role("heading", level=1, name="My Datalabs")).to_be_visible()
    before = await page.evaluate("performance.timeOrigin")
    platform.kill("gateway")
    lab = await ada.launch("terminal", name="After the fall")
    await expect(card(page, "After the fall")).to_be_visible()
    await lab.ready(timeout=180)
    await expect(page.get_by_role("article", name="After the fall: Ready")).to_be_visible()
    await expect(page.get_by_text("Reconnecting")).to_have_count(0)
    assert await page.evaluate("performance.timeOrigin") == before
