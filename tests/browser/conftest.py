import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from datalabs_client import Datalabs
from tests.browser.driving import Person, a_person, start_chromium
from tests.running import CONTENT, RunningPlatform, running

DESKTOPS = Path(__file__).parent


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    """One platform with the datalabs that people get, and two desktops."""
    with running(content=[CONTENT, DESKTOPS]) as platform:
        yield platform


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await start_chromium(playwright)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def ada(platform: RunningPlatform) -> AsyncIterator[Datalabs]:
    """The API as ada sees it; whatever labs a test leaves are deleted."""
    async with platform.client("ada") as datalabs:
        yield datalabs
        for lab in await datalabs.labs():
            await lab.delete()
        async with asyncio.timeout(60):
            while await datalabs.labs():  # noqa: ASYNC110 - stopped first, then hidden
                await asyncio.sleep(0.1)


@pytest_asyncio.fixture(loop_scope="session")
async def person(browser: Browser, platform: RunningPlatform) -> AsyncIterator[Person]:
    async with a_person(browser, platform) as person:
        yield person
