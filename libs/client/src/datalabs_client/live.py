"""The caller's live events: one connection however many wait, resumed by itself."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

_RETRY_SECONDS = 0.5
_SILENCE_SECONDS = 60.0
"""The gateway says something at least every few tens of seconds; a longer silence is a dead connection."""


class LiveEvents:
    """Follows `GET /events` in the background and wakes who waits for an entity.

    Readers never trust that they saw every event: after `reset` and after each new connection all are woken, and
    read the thing itself.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._task: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._last_id: str | None = None
        self._waiting: dict[str, set[asyncio.Queue[dict[str, Any] | None]]] = {}

    async def watch(self, entity_id: str) -> AsyncIterator[dict[str, Any] | None]:
        """Yield the events about one entity; None means: something may have been missed, read it anew."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name="live events")
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._waiting.setdefault(entity_id, set()).add(queue)
        try:
            await self._until_connected()
            yield None
            while True:
                yield await queue.get()
        finally:
            self._waiting[entity_id].discard(queue)

    async def aclose(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, httpx2.HTTPError):
                await self._task

    async def _until_connected(self) -> None:
        """Wait for the first connection; a refusal (such as 401) is the waiter's error."""
        assert self._task is not None
        connected = asyncio.ensure_future(self._connected.wait())
        either: set[asyncio.Future[Any]] = {connected, self._task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        connected.cancel()
        if self._task.done():
            self._task.result()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read_one_connection()
            except (httpx2.TransportError, httpx2.StreamError):
                await asyncio.sleep(_RETRY_SECONDS)
            except httpx2.HTTPStatusError as error:
                if error.response.is_client_error:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read_one_connection(self) -> None:
        headers = {"accept": "text/event-stream"}
        if self._last_id is not None:
            headers["last-event-id"] = self._last_id
        timeout = httpx2.Timeout(10.0, read=_SILENCE_SECONDS)
        async with self._http.stream("GET", "/api/v1/events", headers=headers, timeout=timeout) as response:
            response.raise_for_status()
            async for name, text in self._events(response):
                if name in {"hello", "reset"}:
                    self._connected.set()
                    self._wake_all()
                elif name == "session_ended":
                    return
                elif name != "sample":
                    event = json.loads(text)
                    for queue in self._waiting.get(event.get("entity_id", ""), ()):
                        queue.put_nowait(event)

    async def _events(self, response: httpx2.Response) -> AsyncIterator[tuple[str, str]]:
        """Yield name and data of each server-sent event (WHATWG HTML, section 9.2.6)."""
        name, data = "message", list[str]()
        async for line in response.aiter_lines():
            if not line:
                if data:
                    yield name, "\n".join(data)
                name, data = "message", []
                continue
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                self._last_id = value

    def _wake_all(self) -> None:
        for queues in self._waiting.values():
            for queue in queues:
                queue.put_nowait(None)
