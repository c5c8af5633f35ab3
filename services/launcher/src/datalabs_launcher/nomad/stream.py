"""Nomad's event stream, read by ourselves: python-nomad's reader dies unseen and repeats from its first index.

Gaps are silent (the buffer is small, in memory and per server), so the consumer compares everything after each
`Opened`; an event may come twice and is judged by its index.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.errors import NomadDeniedError
from datalabs_launcher.scheduler import SchedulerAwayError

TOPICS = ("Job", "Allocation", "Evaluation", "Node")
CONNECT_SECONDS = 5.0
FORBIDDEN = 403
OK = 200


@dataclass(frozen=True)
class Event:
    """One event; `payload` is the thing itself."""

    index: int
    topic: str
    type: str
    key: str
    payload: dict[str, Any]


class EventStream:
    """Opens event streams, one at a time."""

    def __init__(self, settings: NomadSettings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def open(self, index: int) -> AsyncIterator[AsyncIterator[Event]]:
        """Subscribe to all that happens from that index on; entered once the server has said its first word.

        Raises `SchedulerAwayError` here, and from the iterator when the stream ends, breaks or falls silent.
        """
        settings = self._settings
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=settings.nomad_silence
        )
        try:
            token = settings.token()
        except OSError as error:
            raise NomadDeniedError(f"The file with Nomad's token cannot be read: {error.strerror}") from None
        async with aiohttp.ClientSession(
            timeout=timeout,
            headers={"X-Nomad-Token": token} if token else None,
            connector=aiohttp.TCPConnector(ssl=self._tls()),
            read_bufsize=2**20,
        ) as session:
            try:
                async with session.get(
                    f"{settings.address}/v1/event/stream", params=self._query(index)
                ) as answer:
                    if answer.status == FORBIDDEN:
                        raise NomadDeniedError(
                            f"Nomad refuses the event stream: {(await answer.text()).strip()}"
                        )
                    if answer.status != OK:
                        raise SchedulerAwayError(
                            f"Nomad gives no event stream: {(await answer.text()).strip()}"
                        )
                    lines = _lines(answer.content)
                    first = await anext(lines)  # a heartbeat comes at once: from here on nothing is missed
                    yield _events(first, lines)
            except (aiohttp.ClientError, OSError, StopAsyncIteration, asyncio.IncompleteReadError) as error:
                raise SchedulerAwayError(f"Nomad's event stream broke: {error!r}") from None

    def _query(self, index: int) -> list[tuple[str, str]]:
        settings = self._settings
        query = [("index", str(index)), ("namespace", settings.namespace)]
        query += [("topic", topic) for topic in TOPICS]
        if settings.region:
            query.append(("region", settings.region))
        return query

    def _tls(self) -> ssl.SSLContext | bool:
        settings = self._settings
        if not settings.address.startswith("https"):
            return True
        context = ssl.create_default_context(
            cafile=settings.verify if isinstance(settings.verify, str) else None
        )
        if settings.client_certificate:
            context.load_cert_chain(*settings.client_certificate)
        return context


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines, however long."""
    rest = b""
    async for piece in content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line


async def _events(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    try:
        for event in _parsed(first):
            yield event
        async for line in lines:
            for event in _parsed(line):
                yield event
    except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
        raise SchedulerAwayError(f"Nomad's event stream broke: {error!r}") from None
    raise SchedulerAwayError("Nomad's event stream ended.")


def _parsed(line: bytes) -> list[Event]:
    """Return what one line tells; a heartbeat tells nothing.

    Raises `ValueError` for half a line.
    """
    if not line.strip():
        return []
    found: list[Event] = []
    for event in json.loads(line).get("Events") or []:
        payload = event.get("Payload") or {}
        thing = payload.get(event["Topic"])
        if isinstance(thing, dict):
            found.append(Event(event["Index"], event["Topic"], event["Type"], event["Key"], thing))
    return found
