"""What labs say: their logs, and the word of a guest that it is ready."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from datalabs_contracts.datalabs import Runtime
from datalabs_launcher.nomad import readings
from datalabs_launcher.nomad.client import NomadClient
from datalabs_launcher.nomad.errors import NomadRejectedError
from datalabs_launcher.nomad.observing import Known
from datalabs_launcher.nomad.tasks import MAIN
from datalabs_launcher.nomad.view import View
from datalabs_launcher.scheduler import Observation, SchedulerAwayError

HEAR_SECONDS = 1.0
"""Pause between looks for guests that have said that they are ready: no event tells of it."""


class Hearing:
    """Reads what Nomad collects of the labs' output."""

    def __init__(self, *, client: NomadClient, view: View, tell: Callable[[str], object]) -> None:
        self._client, self._view, self._tell = client, view, tell

    async def run(self) -> None:
        """Listen for guests that are about to say that they are ready, for ever."""
        while True:
            await asyncio.sleep(HEAR_SECONDS)
            for known in list(self._view.jobs.values()):
                if known.says and known.said_at is None and self._view.ours(known):
                    with contextlib.suppress(SchedulerAwayError, NomadRejectedError):
                        await self._hear(known)

    async def _hear(self, known: Known) -> None:
        first = known.first
        if first is None or first.get("ClientStatus") != "running":
            return
        _, complained = await self._streams(known)
        if readings.says_ready(complained):
            known.said_at = datetime.now(tz=UTC)
            self._tell(known.job_id)

    async def logs(self, known: Known, seen: Observation, *, lines: int) -> tuple[list[str], bool]:
        """Return the last log lines, and whether older ones exist: what it said, then what it complained of."""
        said, complained = await self._streams(known)
        for _ in range(readings.SETTLE_TIMES):
            if not readings.just_ended(seen):
                break
            await asyncio.sleep(readings.SETTLE_SECONDS)
            before = said, complained
            said, complained = await self._streams(known)
            if before == (said, complained):
                break
        runtime = known.meta.get("datalabs_runtime")
        if runtime == Runtime.VM:
            complained = readings.without_words(complained)
        missed = runtime == Runtime.CONTAINER and readings.may_be_missed(seen)
        return readings.log_lines(said, complained, lines=lines, missed=missed)

    async def _streams(self, known: Known) -> tuple[bytes, bytes]:
        """Return the ends of what the lab said and of what it complained of."""
        allocation = str((known.first or {})["ID"])
        said, complained = await asyncio.gather(
            *(
                self._client.log(allocation, task=MAIN, kind=kind, size=readings.LOG_BYTES)
                for kind in ("stdout", "stderr")
            )
        )
        return said, complained
