"""Where a lab's life is held still: the launcher tells each step and waits until the test lets it go."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

REACH_SECONDS = 60.0


class Holds:
    """Listens where `launcher.crash_points` points; what nobody waits for goes on at once."""

    def __init__(self, socket: Path, passed: Callable[[str, str], None]) -> None:
        """Listen at `socket`; `passed` hears of every step."""
        self._socket = socket
        self._passed = passed
        self._wanted: dict[tuple[str, str], asyncio.Future[asyncio.Event]] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._told, str(self._socket))

    async def aclose(self) -> None:
        """Let all go and stop to listen."""
        for waiting in self._wanted.values():
            waiting.cancel()
        if self._server is not None:
            self._server.close()

    def at(self, point: str, lab_id: str) -> "Hold":
        """Hold this lab when it next comes to that point."""
        waiting: asyncio.Future[asyncio.Event] = asyncio.get_running_loop().create_future()
        self._wanted[point, lab_id] = waiting
        return Hold(waiting)

    async def _told(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            point, lab_id = (await reader.readline()).decode().split()
            self._passed(point, lab_id)
            waiting = self._wanted.pop((point, lab_id), None)
            if waiting is not None and not waiting.done():
                go = asyncio.Event()
                waiting.set_result(go)
                await go.wait()
            writer.write(b"go\n")
            await writer.drain()
        except (OSError, ValueError):  # the launcher was killed while it was held
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()


class Hold:
    """One lab at one point."""

    def __init__(self, waiting: "asyncio.Future[asyncio.Event]") -> None:
        self._waiting = waiting

    async def reached(self) -> bool:
        """Wait for the lab; False when its life passed the point by, as a launch that failed does."""
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await asyncio.shield(self._waiting)
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """Let it go on."""
        if self._waiting.done() and not self._waiting.cancelled():
            self._waiting.result().set()
        else:
            self._waiting.cancel()
