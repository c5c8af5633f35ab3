"""A door to a real Nomad agent behind which every task becomes one of its mock driver: placed, run, listening nowhere.

So the launcher, its adapter and Nomad's own scheduling are measured at a rate at which no machine starts containers.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

from aiohttp import ClientSession, ClientTimeout, web

from datalabs_testing.edge import free_port

T = TypeVar("T")
RUNS = "1h"
DROPPED = {"host", "content-length", "transfer-encoding", "connection"}


def mocked(document: dict[str, Any]) -> dict[str, Any]:
    """Return a registration with the mock driver in place of every task's own."""
    for group in (document.get("Job") or {}).get("TaskGroups") or []:
        for task in group["Tasks"]:
            fetch = (task.get("Config") or {}).get("entrypoint") == ["/bin/true"]
            task["Driver"], task["Config"] = "mock_driver", {"run_for": "100ms" if fetch else RUNS}
            task.pop("User", None)
            task.pop("Constraints", None)
    return document


@contextlib.contextmanager
def mocking(address: str) -> Iterator[str]:
    """Keep the door open in a thread of its own; yields its address."""
    loop = asyncio.new_event_loop()
    opened = contextlib.AsyncExitStack()
    thread = threading.Thread(target=loop.run_forever, name="door", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    try:
        yield run(opened.enter_async_context(_door(address)))
    finally:
        run(opened.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.asynccontextmanager
async def _door(address: str) -> AsyncIterator[str]:
    """Yield the address of the door to an agent."""
    async with ClientSession(timeout=ClientTimeout(total=None), auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            if request.method in {"POST", "PUT"} and b'"TaskGroups"' in body:
                body = json.dumps(mocked(json.loads(body))).encode()
            headers = {name: value for name, value in request.headers.items() if name.lower() not in DROPPED}
            async with session.request(
                request.method, address + request.raw_path, data=body, headers=headers
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in DROPPED}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()
