"""The supervisor: brings the parts up in order, keeps them alive, answers `status` and `down`, ends them in order."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from datalabs_standalone import control, logs
from datalabs_standalone.children import Children
from datalabs_standalone.failures import StandaloneError, StartFailedError
from datalabs_standalone.parts import Keeper, PartPlan, PartStatus
from datalabs_standalone.processes import ProcessRef, family, memory_kib, reference
from datalabs_standalone.reporting import Reporter
from datalabs_standalone.state import RunningParts, StateFolder

_ROTATION_SECONDS = 15.0
_FOUNDATION_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class PlatformPlan:
    """What is brought up: the foundation, then `prepare` on it, then the services on both.

    `watch` runs while the platform is ready and says what goes on in the background; `stop_labs` ends all labs.
    """

    address: str
    nursery: PartPlan
    foundation: Sequence[PartPlan]
    services: Sequence[PartPlan]
    prepare: Callable[[Say], Awaitable[None]]
    stop_labs: Callable[[Say], Awaitable[None]]
    watch: Callable[[Say], Coroutine[Any, Any, None]]
    notices: Sequence[str] = field(default_factory=tuple)


class Supervisor:
    """Runs one platform in one state folder, whose lock the caller holds."""

    def __init__(
        self, *, state: StateFolder, plan: PlatformPlan, reporter: Reporter, children: Children, began: float
    ) -> None:
        self._state = state
        self._plan = plan
        self._reporter = reporter
        self._children = children
        self._began = began
        self._status_file = state.run / "status.json"
        self._remembered = RunningParts(state.run / "parts.json")
        self._stored: dict[str, ProcessRef] = {}
        self._keepers = {
            one.name: Keeper(plan=one, children=children, listener=self)
            for one in (*plan.foundation, plan.nursery, *plan.services)
        }
        self._stop = asyncio.Event()
        self._down = asyncio.Lock()
        self._ready = False

    async def run(self) -> int:
        """Bring everything up and keep it until asked to stop; return the exit status."""
        self._children.watch()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._interrupted)
        server = await control.serve(self._state.control_socket, self._answer)
        background = [asyncio.create_task(self._rotate_logs())]
        status = 0
        try:
            status = await self._until_stopped()
            if status == 0 and self._ready:
                background.append(asyncio.create_task(self._plan.watch(self._reporter.line)))
                await self._stop.wait()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            async with self._down:
                await self._end_parts()
            server.close()
            self._state.control_socket.unlink(missing_ok=True)
            self._status_file.unlink(missing_ok=True)
            self._stored.clear()
            self._remember()
            self._children.close()
            self._reporter.line("Open Datalabs has stopped")
            self._reporter.close()
        return status

    def _interrupted(self) -> None:
        """End the platform as `down --keep-labs` does; a second signal changes nothing."""
        if not self._stop.is_set():
            self._reporter.line("stopping; labs go on, and the next `datalabs up` finds them again")
        self._stop.set()

    async def _until_stopped(self) -> int:
        """Bring everything up, unless asked to stop meanwhile."""
        starting = asyncio.create_task(self._bring_up())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return 0
            starting.result()
        except StandaloneError as error:
            self._reporter.failed(error)
            return error.exit_status
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
        return 0

    async def _bring_up(self) -> None:
        keepers = self._keepers
        keepers[self._plan.nursery.name].begin()
        for one in self._plan.foundation:
            keepers[one.name].begin()
        await self._foundation([keepers[one.name] for one in self._plan.foundation])
        # A short task, done on another core while the nursery still imports the services.
        preparing = asyncio.create_task(self._prepare())
        try:
            await self._foundation([keepers[self._plan.nursery.name]])
            await preparing
        finally:
            preparing.cancel()
            await asyncio.gather(preparing, return_exceptions=True)
        for one in self._plan.services:
            keepers[one.name].begin()
        for one in self._plan.services:
            await keepers[one.name].ready.wait()
        self._ready = True
        for notice in self._plan.notices:
            self._reporter.line(notice)
        self._reporter.ready(self._plan.address, time.monotonic() - self._began)

    async def _prepare(self) -> None:
        await self._plan.prepare(self._reporter.line)

    async def _foundation(self, needed: Sequence[Keeper]) -> None:
        """Wait until all of these are ready; give up when one of them cannot live."""
        ready = [asyncio.create_task(one.ready.wait()) for one in needed]
        failing = [asyncio.create_task(one.failing.wait()) for one in needed]
        try:
            async with asyncio.timeout(_FOUNDATION_SECONDS):
                waiting: set[asyncio.Task[bool]] = set(ready)
                while waiting:
                    done, _ = await asyncio.wait({*waiting, *failing}, return_when=asyncio.FIRST_COMPLETED)
                    if any(task.done() for task in failing):
                        break
                    waiting -= done
        except TimeoutError:
            pass
        finally:
            for task in (*ready, *failing):
                task.cancel()
            await asyncio.gather(*ready, *failing, return_exceptions=True)
        for one in needed:
            if one.failing.is_set() or not one.ready.is_set():
                last = logs.last_lines(one.plan.log, 1)
                why = one.status.text or "is not ready in time"
                raise StartFailedError(
                    f"{one.plan.name} {why}; its log is {one.plan.log}" + (f": {last[0]}" if last else "")
                )

    def changed(self, part: PartStatus) -> None:
        """Remember the process of a part and show its state."""
        known = self._stored.get(part.name)
        if part.pid is None:
            gone = self._stored.pop(part.name, None) is not None
        else:
            found = reference(part.pid) if known is None or known.pid != part.pid else known
            gone = found is not None and found != known
            if found is not None:
                self._stored[part.name] = found
        if gone:
            self._remember()
        self._write_status()
        self._reporter.changed(part)

    def _write_status(self) -> None:
        """Write for the observer, who tells operators, how all parts are; nothing depends on it after a crash."""
        fresh = self._status_file.with_suffix(".new")
        document = {"parts": [keeper.status.document() for keeper in self._keepers.values()]}
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(document), encoding="utf-8")
            fresh.replace(self._status_file)

    def _remember(self) -> None:
        try:
            self._remembered.write(self._stored)
        except OSError as error:  # a full disk must not end the keeping of parts
            self._reporter.line(f"the running parts cannot be stored: {error.strerror}")

    def failing(self, part: PartStatus, last_lines: list[str]) -> None:
        """Show it."""
        self._reporter.failing(part, last_lines)

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(_ROTATION_SECONDS)
            for log in self._state.logs.glob("*.log"):
                with contextlib.suppress(OSError):
                    logs.rotate(log)

    async def _end_parts(self) -> None:
        """End the services together, then what they stand on."""
        for group in (self._plan.services, (self._plan.nursery,), self._plan.foundation):
            await asyncio.gather(*(self._keepers[one.name].end() for one in group))

    async def _answer(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        match request.get("command"):
            case "status":
                yield self._status(memory=bool(request.get("memory", True)))
            case "down":
                async for message in self._go_down(keep_labs=bool(request.get("keep_labs"))):
                    yield message
            case other:
                yield {"error": f"no such command: {other}"}

    def _status(self, *, memory: bool) -> dict[str, Any]:
        parts = []
        for keeper in self._keepers.values():
            document = keeper.status.document()
            pid = keeper.status.pid
            document["memory_kib"] = memory_kib(family(pid)) if memory and pid is not None else None
            parts.append(document)
        return {
            "address": self._plan.address,
            "state": str(self._state.root),
            "pid": os.getpid(),
            "memory_kib": memory_kib([os.getpid()]) if memory else None,
            "ready": all(one.ready.is_set() for one in self._keepers.values()),
            "parts": parts,
        }

    async def _go_down(self, *, keep_labs: bool) -> AsyncIterator[dict[str, Any]]:
        """Stop the labs first, if asked to, while all that records their end is alive."""
        try:
            async with self._down:
                lines: asyncio.Queue[str | None] = asyncio.Queue()
                working = asyncio.create_task(
                    self._stop_everything(keep_labs=keep_labs, say=lines.put_nowait)
                )
                working.add_done_callback(lambda _task: lines.put_nowait(None))
                while (line := await lines.get()) is not None:
                    yield {"line": line}
                working.result()
            yield {"done": True}
        finally:
            self._stop.set()

    async def _stop_everything(self, *, keep_labs: bool, say: Say) -> None:
        self._reporter.line("stopping, as asked" + (", labs go on" if keep_labs else ""))
        launcher = self._keepers.get("launcher")
        if not keep_labs and launcher is not None and launcher.ready.is_set():
            try:
                await self._plan.stop_labs(say)
            except StandaloneError as error:
                say(f"{error}; labs that still run are found again by the next `datalabs up`")
        await self._end_parts()
