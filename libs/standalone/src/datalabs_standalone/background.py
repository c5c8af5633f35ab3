"""What goes on in the background once the platform is ready, told in lines: environments and collections.

A few lines of the NATS protocol instead of a client: the supervisor stays small and without threads. Nothing depends
on these lines, so what is missed while NATS is away is missed.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

_SUBJECTS = ("events.environment.*.changed", "events.collection.*.changed")
_RETRY_SECONDS = 2.0
_TOLD = {"preparing", "ready", "failed", "unavailable", "absent"}


async def watch_progress(*, port: int, password: str, say: Callable[[str], None]) -> None:
    """Follow the facts as the read-only user and say what is news, until cancelled."""
    news = News()
    while True:
        try:
            await _follow(port, password, news, say)
        except (OSError, EOFError, ValueError, LookupError):
            await asyncio.sleep(_RETRY_SECONDS)


async def _follow(port: int, password: str, news: "News", say: Callable[[str], None]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readline()
        connect = {"verbose": False, "headers": True, "user": "subscriber", "pass": password, "name": "up"}
        writer.write(f"CONNECT {json.dumps(connect)}\r\n".encode())
        for number, subject in enumerate(_SUBJECTS, start=1):
            writer.write(f"SUB {subject} {number}\r\n".encode())
        await writer.drain()
        while line := await reader.readline():
            word, _, rest = line.decode().strip().partition(" ")
            if word == "PING":
                writer.write(b"PONG\r\n")
            elif word in {"MSG", "HMSG"}:
                fields = rest.split()
                total, head = int(fields[-1]), int(fields[-2]) if word == "HMSG" else 0
                payload = await reader.readexactly(total + 2)
                if text := news.of(fields[0], json.loads(payload[head:total])):
                    say(text)
            elif word == "-ERR":
                raise ValueError(rest)
        raise EOFError
    finally:
        writer.close()


class News:
    """Tells a fact in words the first time its state is seen."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def of(self, subject: str, fact: dict[str, Any]) -> str | None:
        """Return a line about the fact, or None when it is nothing new."""
        key, state, why = (
            _of_environment(fact) if subject.split(".")[1] == "environment" else _of_collection(fact)
        )
        if state not in _TOLD or self._seen.get(key) == state:
            return None
        self._seen[key] = state
        if state == "absent":
            return f"{key}: {why}"
        return f"{key} is {state}" + (f": {why}" if why and state != "ready" else "")


def _of_environment(fact: dict[str, Any]) -> tuple[str, str, str]:
    about = fact["readiness"]
    return f"environment {about['datalab']} {about['version']}", about["state"], about.get("text", "")


def _of_collection(fact: dict[str, Any]) -> tuple[str, str, str]:
    about = fact["collection"]
    return (
        f"collection {about['id']}",
        "ready" if about.get("available") else "absent",
        about.get("message", ""),
    )
