"""The volumes of labs on their way up: asked of storage, remembered while they are needed."""

import asyncio
import contextlib

from datalabs_contracts.problems import ProblemError
from datalabs_contracts.volumes import PreparedVolumes
from datalabs_launcher.models import LabRecord
from datalabs_launcher.neighbours import Neighbours
from datalabs_launcher.tracing import in_trace_of

ANSWER_SECONDS = 20.0
"""How long one request to storage may take; copying starters and making folders is quick."""

_Attempt = tuple[str, int]


class LabVolumes:
    """Volumes by lab and attempt; what is not remembered is asked again, which changes nothing. A part."""

    name = "lab volumes"

    def __init__(self, *, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._known: dict[str, tuple[int, PreparedVolumes]] = {}
        self._asked: dict[_Attempt, asyncio.Task[PreparedVolumes]] = {}

    async def start(self) -> None:
        """Nothing to do: they are asked for with their labs."""

    async def aclose(self) -> None:
        """Wait for no answer any more; whoever starts next asks again."""
        for task in list(self._asked.values()):
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    async def begin(self, record: LabRecord) -> None:
        """Ask ahead of the lab's first step, which then finds the answer; a refusal is that step's to hear."""
        with in_trace_of(record), contextlib.suppress(ProblemError):
            await self.of(record)

    async def of(self, record: LabRecord) -> PreparedVolumes:
        """Return the volumes of the record's attempt, ready to use.

        Raises `ProblemError` as storage refuses.
        """
        known = self._known.get(record.id)
        if known is not None and known[0] == record.attempt:
            return known[1]
        key = record.id, record.attempt
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._ask(record), name=f"volumes {record.id}")
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)  # a step that gives way leaves the question to whoever comes next

    def forget(self, lab_id: str) -> None:
        """Drop what is remembered and asked of an ended lab."""
        self._known.pop(lab_id, None)
        for key, task in self._asked.items():
            if key[0] == lab_id:
                task.cancel()

    async def _ask(self, record: LabRecord) -> PreparedVolumes:
        return await self._neighbours.prepare_volumes(record, seconds=ANSWER_SECONDS)

    def _answered(self, key: _Attempt, done: "asyncio.Task[PreparedVolumes]") -> None:
        del self._asked[key]
        if not done.cancelled() and done.exception() is None:
            self._known[key[0]] = key[1], done.result()
