import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from datalabs_client import Datalabs
from tests.running import TEST_CONTENT, RunningPlatform, running


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    """One platform for all tests of the folder, with the test datalabs in its catalogue."""
    with running(content=[TEST_CONTENT]) as platform:
        yield platform


@pytest.fixture
async def ada(platform: RunningPlatform) -> AsyncIterator[Datalabs]:
    """The demo user; whatever labs a test leaves are stopped."""
    async with platform.client("ada") as datalabs:
        yield datalabs
        for lab in await datalabs.labs():
            await lab.delete()
        async with asyncio.timeout(30):
            while await datalabs.labs():  # noqa: ASYNC110 - stopped first, then hidden
                await asyncio.sleep(0.1)


@pytest.fixture
async def admin(platform: RunningPlatform) -> AsyncIterator[Datalabs]:
    async with platform.client("admin") as datalabs:
        yield datalabs
