from collections.abc import AsyncIterator

import pytest_asyncio

from tests.chaos.stage import SEED, Stage, local_stage


def pytest_report_header() -> str:
    return f"chaos: DATALABS_CHAOS_SEED={SEED} repeats this selection"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    """One platform for the whole matrix: it lives through everything."""
    async with local_stage() as stage:
        yield stage
