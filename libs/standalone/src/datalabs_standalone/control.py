"""The supervisor's Unix socket: one JSON line asks, JSON lines answer."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from datalabs_standalone.failures import NotRunningError
from datalabs_standalone.state import StateFolder, is_locked

Handler = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]
_CONNECT_SECONDS = 5.0


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Answer commands; the handler yields the lines of the answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            async for message in handler(request):
                writer.write(json.dumps(message).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # the one who asked went away, or said nothing that we know
        finally:
            writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - a local folder; nothing waits for it
    return await asyncio.start_unix_server(answer, path=str(path))


def ask(path: Path, **request: object) -> Iterator[dict[str, Any]]:
    """Send a command and yield the lines of the answer until the supervisor closes.

    Raises `NotRunningError` when nobody listens.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(str(path))
        except (OSError, TimeoutError) as error:
            state = StateFolder(path.parent.parent)
            if is_locked(state):
                raise NotRunningError(
                    f"Open Datalabs is just starting or stopping in {state.root}; ask again in a moment."
                ) from error
            raise NotRunningError(f"Open Datalabs is not running in {state.root}.") from error
        connection.sendall(json.dumps(request).encode() + b"\n")
        connection.settimeout(None)
        with connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
