"""What several tests of the runtime need."""

from collections.abc import AsyncIterator

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client

from datalabs_runtime import consuming
from datalabs_runtime.permissions import TOPOLOGY, inbox_of
from datalabs_testing.platform import Platform


@pytest_asyncio.fixture
async def topology(platform: Platform) -> AsyncIterator[Client]:
    """A connection that may look at streams and consumers."""
    client = await nats.connect(
        platform.nats.url,
        user=TOPOLOGY,
        password=platform.nats.passwords[TOPOLOGY],
        inbox_prefix=inbox_of(TOPOLOGY).encode(),
    )
    yield client
    await client.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without waiting: the delays are data, their number stays."""
    monkeypatch.setattr(consuming, "RETRY_DELAYS", (0.01,) * 5)
