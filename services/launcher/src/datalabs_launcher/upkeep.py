"""Small regular work: signs of use, token files, spans of finished launches, removal of what is old."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog
from pydantic import ValidationError

from datalabs_contracts.events import LAB_DELETED
from datalabs_contracts.labs import Seen
from datalabs_contracts.problems import ProblemError
from datalabs_launcher import metrics, stepping
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.neighbours import Neighbours
from datalabs_launcher.scheduler import Keeper, Scheduler, SchedulerAwayError
from datalabs_launcher.store import attempts, labs, runs
from datalabs_launcher.timeline import durations, phases_of
from datalabs_launcher.tokens import LabTokens
from datalabs_launcher.tracing import send_spans
from datalabs_launcher.volumes import LabVolumes
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.direct import Direct
from datalabs_runtime.together import Together

FLUSH = timedelta(seconds=15)
"""After so long the exporter has sent what it was given, or has given it up."""
UNTRACED_AT_ONCE = 200
PRUNED_AT_ONCE = 500
LOOKS_AT_ONCE = 16
LOOKS_A_SECOND = 50
"""A look is a question to the cluster, of some milliseconds here and there."""
LOOKS_PER_IDLE = 12
"""Looks at a lab within the time after which it counts as idle."""
TOKENS_AT_ONCE = 50
TOKENS_A_SECOND = 25
"""After a restart storage is asked for each lab's folders once more; ten thousand are through in seven minutes."""
TIMES_KEPT = timedelta(days=90)
Launched = tuple[str, dict[str, float]]
"""A datalab and how many seconds each phase of its launch took."""


class Upkeep:
    """Regular work on all labs; each method is one loop's work."""

    def __init__(
        self,
        *,
        database: Database,
        direct: Direct,
        journal: Journal,
        scheduler: Scheduler,
        neighbours: Neighbours,
        volumes: LabVolumes,
        tokens: LabTokens,
        clock: Clock,
        settings: LauncherSettings,
    ) -> None:
        self._database = database
        self._direct = direct
        self._journal = journal
        self._scheduler = scheduler
        self._neighbours = neighbours
        self._volumes = volumes
        self._tokens = tokens
        self._clock = clock
        self._settings = settings
        self._sent: dict[tuple[str, int], datetime] = {}
        self._seen: dict[str, datetime] = {}
        self._looked: dict[str, datetime] = {}
        self._account = Together(self._account_for)
        self.files_freed = asyncio.Event()
        self._log = structlog.get_logger(__name__)

    async def look_for_use(self) -> None:
        """Note which labs are in use; what cannot be told counts as use, nothing is ended for lack of knowledge.

        Each lab is looked at some times within its own idle time, a few at once: a look asks the cluster.
        """
        await self._note_use({})
        async with self._database.reading() as session:
            open_ones = await labs.to_look_at(session)
        now, known = self._clock.now(), self._looked
        self._looked = {lab_id: known[lab_id] for lab_id, *_ in open_ones if lab_id in known}
        due = [
            (lab_id, job_id)
            for lab_id, job_id, minutes, used_at in open_ones
            if now - self._last_sign(lab_id, used_at) >= timedelta(minutes=minutes) / LOOKS_PER_IDLE
        ]
        for first in range(0, len(due), LOOKS_AT_ONCE):
            some = due[first : first + LOOKS_AT_ONCE]
            await self._note_use(dict(await asyncio.gather(*(self._look(*one) for one in some))))
            if len(due) > first + LOOKS_AT_ONCE:
                await asyncio.sleep(LOOKS_AT_ONCE / LOOKS_A_SECOND)

    def _last_sign(self, lab_id: str, used_at: datetime | None) -> datetime:
        """Return when a lab was looked at or seen in use last: what just became ready need not be asked yet."""
        never = datetime.min.replace(tzinfo=UTC)
        used = never if used_at is None else stepping.moved(self._clock, used_at)
        return max(self._looked.get(lab_id, never), used)

    async def _look(self, lab_id: str, job_id: str) -> tuple[str, datetime | None]:
        """Return when a lab was seen in use: now, or None."""
        try:
            active = await self._scheduler.active(job_id)
        except SchedulerAwayError:
            active = None
        self._looked[lab_id] = self._clock.now()
        return lab_id, None if active is False else self._clock.now()

    async def _note_use(self, looks: Mapping[str, datetime | None]) -> None:
        """Store when labs were seen in use, here and by the gateway."""
        seen, self._seen = self._seen, {}
        seen |= {lab_id: at for lab_id, at in looks.items() if at is not None}
        if seen:
            async with self._database.transaction() as session:
                await labs.used_now(session, sorted(seen.items()))

    async def noticed(self, payload: bytes) -> None:
        """Take the gateway's word that a browser uses a lab; stored with the next look."""
        try:
            seen = Seen.model_validate_json(payload)
        except ValidationError:
            self._log.warning("seen.not_understood")
            return
        at = min(seen.at, self._clock.now())
        self._seen[seen.lab_id] = max(at, self._seen.get(seen.lab_id, at))

    async def release_files(self) -> None:
        """Give up the files of ended labs whose time is over, and of deleted ones.

        The lab's row is held meanwhile: a restart waits and then sees that its files are gone, it never loses new ones.
        """
        async with self._database.reading() as session:
            old = await labs.with_old_files(session, self._clock.now(), limit=PRUNED_AT_ONCE)
        for lab_id in old:
            try:
                await self._release(lab_id)
            except (ProblemError, SchedulerAwayError, LabMovedError) as error:
                self._log.warning("files.not_released", lab=lab_id, reason=str(error))

    async def _release(self, lab_id: str) -> None:
        async with self._database.transaction() as session:
            record = await labs.locked(session, lab_id)
            now = self._clock.now()
            if record is None or record.files_kept_until is None or record.files_kept_until > now:
                return
            if not record.state.ended:
                return
            if "scratch" in record.volumes:
                await self._neighbours.release_volumes(lab_id)
            if isinstance(self._scheduler, Keeper):
                await self._scheduler.discard(lab_id)
            gone = {"files_kept_until": None, "files_released": True}
            if record.deleted_at is not None:
                await labs.touch(session, lab_id, **gone)
            else:
                await self._journal.write_in(session, record, Change(at=now, values=gone))
        self._log.info("files.released", lab=lab_id)

    async def refresh_tokens(self) -> None:
        """Renew the token files of running labs in place, a page after the other at a pace: there may be very many."""
        last = ""
        while True:
            async with self._database.reading() as session:
                page = await labs.ready_after(session, last, limit=TOKENS_AT_ONCE)
            for record in page:
                try:
                    await self._tokens.put(record, (await self._volumes.of(record)).mounts)
                except ProblemError as problem:
                    self._log.warning("token.not_refreshed", lab=record.id, code=problem.code)
            if len(page) < TOKENS_AT_ONCE:
                return
            last = page[-1].id
            await asyncio.sleep(TOKENS_AT_ONCE / TOKENS_A_SECOND)

    async def account_for_ready(self, lab_id: str, attempt: int) -> None:
        """Account for a launch that became ready just now."""
        found = await self._account((lab_id, attempt))
        if found is not None:
            metrics.launched(*found)

    async def account_for_end(self, lab_id: str, attempt: int) -> None:
        """Account for a launch that ended just now, unless that was done when it became ready."""
        async with self._database.reading() as session:
            known = await attempts.get(session, lab_id, attempt)
        if known is not None and known.ready_at is None:
            await self._account((lab_id, attempt))

    async def _account_for(self, keys: Sequence[attempts.Key]) -> list[Launched | None]:
        """Send the spans of launches that are over, and remember how long they took; return datalabs and phases."""
        found = [
            (one, durations(phases_of(one.moments))) for one in await attempts.finished(self._direct, keys)
        ]
        ready = [(one, seconds) for one, seconds in found if one.attempt.ready_at and one.newest]
        await attempts.add_launch_times(self._direct, ready)
        told: dict[attempts.Key, Launched] = {}
        for one, seconds in found:
            key = (one.attempt.lab_id, one.attempt.attempt)
            reason = one.reason if one.newest else None
            send_spans(one.attempt, one.moments, datalab=one.datalab, reason=reason)
            self._sent[key] = self._clock.now()
            told[key] = one.datalab, seconds
        return [told.get(key) for key in keys]

    async def account_for_all(self) -> None:
        """Send what a launcher that died may not have sent; an attempt counts as traced when the exporter had time.

        The spans' ids are the same each time, so sending twice shows once.
        """
        now = self._clock.now()
        flushed = [key for key, sent in self._sent.items() if now - sent >= FLUSH]
        async with self._database.reading() as session:
            await attempts.traced(session, flushed)
            untraced = await attempts.untraced(session, UNTRACED_AT_ONCE)
        for key in flushed:
            del self._sent[key]
        await self._account_for([key for key in untraced if key not in self._sent])

    async def prune(self) -> None:
        """Delete what is older than the site keeps it, and remove what was deleted long ago."""
        now, settings = self._clock.now(), self._settings
        async with self._database.reading() as session:
            old = await labs.ended_before(
                session, now - timedelta(days=settings.keep_labs_days), limit=PRUNED_AT_ONCE
            )
        for record in old:
            gone = {"deleted_at": now, "delete_requested": True}
            files = {} if record.files_kept_until is None else {"files_kept_until": now}
            change = Change(at=now, event=LAB_DELETED, values={**gone, **files})
            with contextlib.suppress(LabMovedError):
                await self._journal.write(record, change)
        async with self._database.transaction() as session:
            removed = await labs.remove_deleted(
                session, now - timedelta(days=settings.keep_deleted_days), limit=PRUNED_AT_ONCE
            )
            await runs.prune(session, now - TIMES_KEPT)
            await attempts.release_forgotten(session, at=now)
            await attempts.prune(
                session,
                removed,
                logs_before=now - timedelta(days=settings.keep_logs_days),
                times_before=now - TIMES_KEPT,
            )
        if old or removed:
            self._log.info("labs.pruned", deleted=len(old), removed=len(removed))
