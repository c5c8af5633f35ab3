"""What must be true after any harm: each lab is there once or ended with a true reason, and everybody says the same."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx2

from datalabs_client import Datalabs
from datalabs_client.client import LaunchedLab
from datalabs_contracts.labs import Lab, LabState
from datalabs_contracts.problems import ProblemError
from tests.running import RunningPlatform

RECOVERY_SECONDS = 60.0
QUIET_SECONDS = 30.0
"""How long what is written elsewhere (the ledger, the page) may follow a lab's end."""
PAUSE = 0.3
SAME_SECONDS = 0.01


class Word(Protocol):
    """What a scheduler itself says of jobs; `ended` has their start and end, seconds since 1970, by job."""

    ended: dict[str, dict[str, Any]]

    def passed(self, point: str, lab_id: str) -> None:
        """Read what is there of a lab when its end has been stored and nothing is purged yet."""

    def jobs(self, lab_id: str) -> list[str]:
        """Return the jobs of a lab that are there."""


@dataclass
class Records:
    """The scheduler's own word on each job, read from its files before they are purged."""

    labs: Path
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def passed(self, point: str, lab_id: str) -> None:
        """Read what is there of a lab when its end has been stored and nothing is purged yet."""
        if point == "end_stored":
            self._read(lab_id)

    def _read(self, lab_id: str) -> None:
        for folder in self.labs.glob(f"lab-{lab_id}-*"):
            try:
                state = json.loads((folder / "state.json").read_text())
            except (OSError, ValueError):
                continue
            if state.get("phase") == "ended":
                self.ended[folder.name] = state

    def jobs(self, lab_id: str) -> list[str]:
        """Return the jobs of a lab that are there."""
        return sorted(folder.name for folder in self.labs.glob(f"lab-{lab_id}-*"))


class Follower:
    """A page of somebody's labs that is never reloaded: it follows events and says what it shows."""

    def __init__(self, platform: RunningPlatform, username: str) -> None:
        self._platform = platform
        self._username = username
        self._task: asyncio.Task[None] | None = None
        self._last_id: str | None = None
        self.troubles: list[str] = []
        self.shown: dict[str, Lab] = {}

    async def start(self) -> None:
        """Open the page."""
        self._task = asyncio.create_task(self._follow())

    async def aclose(self) -> None:
        """Close it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                async with self._platform.client(self._username) as datalabs:
                    while True:
                        await self._read_one_connection(datalabs)
            except (httpx2.HTTPError, ProblemError) as error:
                self.troubles.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(PAUSE)

    async def _read_one_connection(self, datalabs: Datalabs) -> None:
        """Read events until the connection ends; what it may have missed is read anew only when the server says so."""
        headers = {
            "accept": "text/event-stream",
            **({"last-event-id": self._last_id} if self._last_id else {}),
        }
        name, data = "", ""
        async with datalabs.http.stream(
            "GET", "/api/v1/events", headers=headers, timeout=httpx2.Timeout(10, read=60)
        ) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                word, _, value = line.partition(": ")
                if word == "id":
                    self._last_id = value
                elif word == "event":
                    name = value
                elif word == "data":
                    data = value
                elif not line and name:
                    await self._take(name, data, datalabs)
                    name, data = "", ""

    async def _take(self, name: str, data: str, datalabs: Datalabs) -> None:
        if name == "reset" or (name == "hello" and not self.shown):
            labs = [one.lab for one in await datalabs.labs()]
        elif name in {"hello", "sample"}:
            return
        else:
            document = json.loads(data).get("data", {}).get("lab")
            labs = [Lab.model_validate(document)] if document else []
        for lab in labs:
            before = self.shown.get(lab.id)
            if before is None or before.revision < lab.revision:
                self.shown[lab.id] = lab


async def until(what: str, look: Callable[[], Any], *, seconds: float) -> Any:
    """Wait until `look`, a coroutine function, gives something true; whatever is away meanwhile is forgiven.

    Raises `AssertionError` with what was seen last.
    """
    last: object = None
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        try:
            last = await look()
            if last:
                return last
        except (httpx2.HTTPError, ProblemError) as error:
            last = error
        await asyncio.sleep(PAUSE)
    raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {last!r}")


async def settled(lab: LaunchedLab) -> Lab:
    """Return the lab once it is ready or has ended, as everybody is told."""

    async def look() -> Lab | None:
        now = await lab.refresh()
        return now if now.state is LabState.READY or now.state.ended else None

    found: Lab = await until(f"{lab.id} ready or ended", look, seconds=RECOVERY_SECONDS)
    assert not found.state.ended or found.reason is not None, found
    return found


async def ended(lab: LaunchedLab) -> Lab:
    """Return the lab once it has ended."""

    async def look() -> Lab | None:
        now = await lab.refresh()
        return now if now.state.ended else None

    found: Lab = await until(f"{lab.id} ended", look, seconds=RECOVERY_SECONDS)
    assert found.reason is not None
    return found


async def accounted(datalabs: Datalabs, lab: Lab, records: Word) -> None:
    """The ledger's seconds, the lab's times and the scheduler's own record say the same."""
    of_lab = [state for job, state in records.ended.items() if job.startswith(f"lab-{lab.id}-")]
    if lab.started_at is None:
        assert not any(state.get("started") for state in of_lab), (lab, of_lab)
        return
    assert lab.ended_at is not None
    seconds = (lab.ended_at - lab.started_at).total_seconds()
    for state in of_lab:
        assert abs(state["started"] - lab.started_at.timestamp()) < SAME_SECONDS, (state, lab)
        assert abs(state["ended"] - lab.ended_at.timestamp()) < SAME_SECONDS, (state, lab)

    async def look() -> bool:
        rows = [row async for row in datalabs.items("/usage", by="lab") if row["lab"] == lab.id]
        return len(rows) == 1 and abs(rows[0]["seconds"] - seconds) < SAME_SECONDS and not rows[0]["running"]

    await until(f"the ledger has {seconds:.3f} s of {lab.id}", look, seconds=QUIET_SECONDS)


def processes_of(lab_id: str) -> list[int]:
    """Return every process of the machine whose command or environment names the lab."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                named = f"lab-{lab_id}-".encode() in (entry / "cmdline").read_bytes()
                told = f"DATALABS_LAB_ID={lab_id}\0".encode() in (entry / "environ").read_bytes()
            except OSError:
                continue
            if named or told:
                found.append(int(entry.name))
    return found


async def gone(lab_id: str, records: Word) -> None:
    """Nothing of an ended lab runs, nothing of it is left with the scheduler."""

    async def look() -> bool:
        return not processes_of(lab_id) and not records.jobs(lab_id)

    await until(f"nothing of {lab_id} is left", look, seconds=RECOVERY_SECONDS + 15)


async def shown(page: Follower, lab: Lab) -> None:
    """The page that was never reloaded shows the lab as it is."""

    async def look() -> bool:
        seen = page.shown.get(lab.id)
        return seen is not None and (seen.state, seen.reason, seen.revision) == (
            lab.state,
            lab.reason,
            lab.revision,
        )

    await until(f"the page shows {lab.id} {lab.state}", look, seconds=QUIET_SECONDS)
