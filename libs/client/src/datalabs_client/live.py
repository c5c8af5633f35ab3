"""The caller's live events: one connection however many wait, resumed by itself."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from datalabs_client.refusals import problem_of
from datalabs_contracts.problems import ProblemError

_RETRY_SECONDS = 0.5
_SERVER_ERRORS = 500
_SILENCE_SECONDS = 60.0
"""The gateway says something at least every few tens of seconds; a longer silence is a dead connection."""


_News = dict[str, Any] | ProblemError | None


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
        self._waiting: dict[str, set[asyncio.Queue[_News]]] = {}

    async def watch(self, entity_id: str) -> AsyncIterator[dict[str, Any] | None]:
        """Yield the events about one entity; None means: something may have been missed, read it anew.

        Raises `ProblemError` when the platform refuses, as at the end of the session.
        """
        if self._task is None or self._task.done():
            self._connected.clear()
            self._task = asyncio.create_task(self._follow(), name="live events")
        queue: asyncio.Queue[_News] = asyncio.Queue()
        self._waiting.setdefault(entity_id, set()).add(queue)
        try:
            if self._connected.is_set():
                queue.put_nowait(None)
            while True:
                news = await queue.get()
                if isinstance(news, ProblemError):
                    raise news
                yield news
        finally:
            self._waiting[entity_id].discard(queue)

    async def aclose(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        """Read connection after connection; a refusal ends it and is everybody's news."""
        while True:
            try:
                await self._read_one_connection()
            except (httpx2.TransportError, httpx2.StreamError):
                await asyncio.sleep(_RETRY_SECONDS)
            except ProblemError as problem:
                if problem.status < _SERVER_ERRORS:
                    self._tell_all(problem)
                    return
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read_one_connection(self) -> None:
        headers = {"accept": "text/event-stream"}
        if self._last_id is not None:
            headers["last-event-id"] = self._last_id
        timeout = httpx2.Timeout(10.0, read=_SILENCE_SECONDS)
        async with self._http.stream(
            "GET", "/api/v1/events?samples=false", headers=headers, timeout=timeout
        ) as response:
            if response.is_error:
                await response.aread()
                raise problem_of(response)
            async for name, text in self._events(response):
                if name in {"hello", "reset"}:
                    self._connected.set()
                    self._tell_all(None)
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

    def _tell_all(self, news: _News) -> None:
        for queues in self._waiting.values():
            for queue in queues:
                queue.put_nowait(news)
