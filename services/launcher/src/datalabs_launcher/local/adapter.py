"""The `local` scheduler: process labs on this machine, each under its own shim. Fills the port of `scheduler.py`.

Truth is in the attempts' folders and in the kernel; what is kept here is only a view of it. Nothing here is needed for
a lab to live: the launcher may come and go.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

from datalabs_contracts.datalabs import EnvironmentSpecification, Runtime
from datalabs_contracts.labs import Capacity, Sample
from datalabs_launcher.local import (
    activity,
    bounds,
    listeners,
    logs,
    meters,
    pacing,
    processes,
    resolver,
)
from datalabs_launcher.local.attempts import Attempt, State
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.local.layout import Layout
from datalabs_launcher.local.machine import Machine
from datalabs_launcher.local.news import Mailbox, Watchers
from datalabs_launcher.local.shims import Nest, Shim
from datalabs_launcher.local.specification import SCRATCH
from datalabs_launcher.local.vm import host as machines
from datalabs_launcher.local.vm.host import VmPlace
from datalabs_launcher.scheduler import (
    EnvironmentProgress,
    LabJob,
    Observation,
    SubmitRefusedError,
)

LOOK_AGAIN = 5.0
"""Seconds between looks at all jobs: a fallback for datagrams that were lost."""
SWEEP = 600.0
"""Seconds between looks at the disks of labs that ended."""


class _Job:
    """A job as last seen."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.state: State = {}
        self.shim: Shim | None = None
        self.told: tuple[object, ...] | None = None
        self.sampled: meters.Rate | None = None
        self.judged: meters.Rate | None = None
        self.scratch: meters.Scratch | None = None
        self.looks = bounds.Looks()

    @property
    def ended(self) -> bool:
        return self.state.get("phase") == "ended"


class LocalScheduler:
    """This machine as a cluster."""

    def __init__(
        self, *, state_folder: Path, settings: LocalSettings, api_address: str | None = None, api_port: int
    ) -> None:
        """Run labs of the platform in `state_folder`; they reach its edge at `api_port`.

        `api_address` is the edge's address on the labs' side; by default the one that belongs to the folder.
        """
        self._layout = Layout(state_folder)
        self._machine = Machine(
            layout=self._layout, settings=settings, api_address=api_address, api_port=api_port
        )
        self._settings = settings
        self._jobs: dict[str, _Job] = {}
        self._watchers = Watchers()
        self._mailbox = Mailbox(self._layout.news)
        self._pace = pacing.Pace(
            cores=pacing.cores_here(), busy_seconds=settings.startup_seconds, now=time.monotonic
        )
        self._nest: Nest | None = None
        self._look: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find what runs already, and begin to watch."""
        await asyncio.to_thread(self._machine.prepare)
        self._nest = Nest(self._machine.interpreter)
        self._nest.warm()
        loop = asyncio.get_running_loop()
        self._mailbox.open(loop, self._heard)
        for folder in self._layout.attempts():
            self._adopt(Attempt(folder))
        await asyncio.to_thread(self._machine.vm.sweep, living=self._living())
        self._look = loop.create_task(self._look_again(), name="local scheduler")

    async def aclose(self) -> None:
        """Let go; labs live on."""
        if self._look is not None:
            self._look.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._look
        loop = asyncio.get_running_loop()
        self._mailbox.close(loop)
        self._watchers.close()
        if self._nest is not None:
            self._nest.close()
        for job in self._jobs.values():
            if job.shim is not None:
                job.shim.let_go(loop)
        if all(job.ended for job in self._jobs.values()):
            await asyncio.to_thread(self._machine.leave)

    async def _look_again(self) -> None:
        swept = time.monotonic()
        while True:
            await asyncio.sleep(min(LOOK_AGAIN, self._settings.disk_check))
            try:
                if time.monotonic() - swept > SWEEP:
                    swept = time.monotonic()
                    await asyncio.to_thread(self._machine.vm.sweep, living=self._living())
                for job in list(self._jobs.values()):
                    if not job.ended:
                        self._refresh(job)
                        await self._hold_to_bounds(job)
            except Exception:  # noqa: BLE001 - the edge of a loop
                self._log.exception("local.look_failed")

    async def _hold_to_bounds(self, job: _Job) -> None:
        """End a lab that has passed a bound which the kernel does not end it for."""
        if job.state.get("phase") != "running" or job.state.get("asked") or job.attempt.about.get("machine"):
            return
        over = await asyncio.to_thread(
            bounds.passed,
            job.attempt.spec,
            job.looks,
            now=time.monotonic(),
            patience=self._settings.fork_patience,
            files_per_mib=self._settings.files_per_mib,
        )
        if over is not None and not job.ended:
            await asyncio.to_thread(bounds.note, job.attempt.folder, over)
            await self.stop(job.attempt.job_id, grace=0)

    # -- what is here ----------------------------------------------------------------------------------------------

    @property
    def api_address(self) -> str:
        """The address at which labs with a network of their own reach the edge; known after `start`."""
        return self._machine.api_address

    @property
    def operators_only(self) -> bool:
        """Whether only operators may launch here: labs could see other people's files."""
        return self._machine.operators_only

    async def runtimes(self) -> list[Runtime]:
        """Return what runs here."""
        return self._machine.runtimes()

    async def notices(self, runtime: Runtime) -> list[str]:
        """Return what a person should know before launching here."""
        if runtime is Runtime.VM:
            return self._machine.vm_notices()
        return self._machine.notices() if runtime is Runtime.PROCESS else []

    async def refuses(self, runtime: Runtime, *, operator: bool) -> str | None:
        """Return why this person may not launch here; None when nothing speaks against it."""
        if runtime is Runtime.PROCESS and self.operators_only and not operator:
            return "Labs cannot be kept apart on this machine, so only operators may launch them here."
        return None

    async def capacity(self) -> Capacity:
        """Return the whole and what is taken by running labs."""
        running = [job.attempt.about for job in self._jobs.values() if not job.ended]
        return self._machine.capacity(
            cores_taken=sum(about["cores"] for about in running),
            memory_taken_mib=sum(about["memory_mib"] for about in running),
            disk_taken_mib=sum(about.get("disk_mib", 0) for about in running),
            labs=len(running),
        )

    async def may_start(self) -> bool:
        """Return whether there is CPU for another start right now."""
        return self._pace.may_start()

    async def prepare(
        self, specification: EnvironmentSpecification, runtime: Runtime
    ) -> AsyncIterator[EnvironmentProgress]:
        """Make a version's environment ready; at once when it is."""
        process, vm = specification.runtimes.process, specification.runtimes.vm
        if runtime is Runtime.VM and vm is not None:
            async for progress in self._machine.vm.install(vm):
                yield progress
            return
        if runtime is not Runtime.PROCESS or process is None:
            text = f"This machine does not run labs as {runtime}."
            yield EnvironmentProgress(ready=False, failed=True, fraction=0, text=text)
            return
        async for progress in self._machine.environments.prepare(
            specification.datalab, specification.version, process
        ):
            yield progress
        used = {Path(job.attempt.about["environment"]) for job in self._jobs.values() if not job.ended}
        await asyncio.to_thread(self._machine.environments.clean, keep=used)

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: LabJob) -> Observation:
        """Run the job, once however often this is called."""
        known, machine = self._jobs.get(job.job_id), None
        if known is None:
            if self._layout.was_purged(job.job_id):
                raise SubmitRefusedError("This attempt has run and was forgotten.")
            attempt = Attempt(self._layout.attempt(job.job_id))
            accepted = attempt.folder / "spec.json"
            if job.runtime is Runtime.VM and not accepted.exists():
                machine = await asyncio.to_thread(self._machine.vm.place, job)
            if not accepted.exists():
                self._write(job, machine)
            known = self._jobs.get(job.job_id) or self._adopt(attempt)
            await asyncio.to_thread(attempt.sync)  # beside the start, not before it
        elif known.shim is None and not known.state:
            self._launch(known)
        return known.attempt.observe(known.state)

    def _write(self, job: LabJob, machine: VmPlace | None = None) -> None:
        """Accept a job: from here on it is never forgotten."""
        taken = {one.attempt.about["address"] for one in self._jobs.values() if not one.ended}
        place = self._machine.place_for(job, taken=taken, machine=machine)
        servers = resolver.text_for_labs() if place.network is not None else None
        try:
            self._layout.write(job, place, resolver=servers)
        except ValueError as error:
            raise SubmitRefusedError(str(error)) from None

    def _adopt(self, attempt: Attempt) -> _Job:
        """Take an attempt's folder into view: running, ended, or accepted and not yet begun."""
        job = self._jobs[attempt.job_id] = _Job(attempt)
        self._refresh(job)
        if not job.state:
            if attempt.may_begin:
                self._launch(job)
            else:
                job.state = attempt.settle(never_started=True)
        if job.ended:
            self._machine.addresses.rest(attempt.about["address"], job.state["ended"])
        return job

    def _launch(self, job: _Job) -> None:
        self._pace.started()
        assert self._nest is not None
        try:
            shim = self._nest.shim(job.attempt.folder)
        except OSError as error:
            self._log.error("local.shim_not_started", job=job.attempt.job_id, reason=str(error))
            job.state = job.attempt.settle(never_started=True)
            raise SubmitRefusedError(f"The lab's supervisor could not be started: {error}") from error
        self._hold(job, shim)

    def _hold(self, job: _Job, shim: Shim) -> None:
        if job.shim is not None:
            job.shim.let_go(asyncio.get_running_loop())
        job.shim = shim
        shim.on_end(asyncio.get_running_loop(), lambda: self._shim_ended(job))

    def _shim_ended(self, job: _Job) -> None:
        """Take in that a shim is gone: it has recorded the end, or it was killed and the end is recorded now."""
        if job.shim is not None:
            job.shim.let_go(asyncio.get_running_loop())
            job.shim = None
        if self._jobs.get(job.attempt.job_id) is job and not job.ended:
            job.state = job.attempt.settle(never_started=True)
            self._tell(job)

    def _heard(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            self._refresh(job)

    def _refresh(self, job: _Job) -> None:
        job.state = job.attempt.settle()
        if job.state and not job.ended and job.shim is None:
            shim = Shim.find(job.state["shim"], job.state["shim_ticks"])
            if shim is not None:
                self._hold(job, shim)
        self._tell(job)

    def _tell(self, job: _Job) -> None:
        news = (job.state.get("phase"), job.state.get("asked"), job.state.get("ready"))
        if news == job.told:
            return
        job.told = news
        if job.ended:
            self._machine.addresses.rest(job.attempt.about["address"], job.state["ended"])
        self._watchers.tell(job.attempt.observe(job.state))

    async def stop(self, job_id: str, *, grace: float) -> None:
        """Ask the job to end, kill it after `grace` seconds; returns at once."""
        job = self._jobs.get(job_id)
        if job is None or job.ended:
            return
        job.attempt.ask_to_stop(grace)
        if job.shim is not None:
            job.shim.ask()
        else:
            job.state = job.attempt.settle(never_started=True)
            self._tell(job)

    async def purge(self, job_id: str) -> None:
        """Forget an ended job; it can never be started again."""
        job = self._jobs.get(job_id)
        if job is None or not job.ended:
            return
        if job.shim is not None:  # it has recorded the end and is about to go
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(job.shim.over.wait(), LOOK_AGAIN)
        self._layout.note_purged(job_id)
        self._jobs.pop(job_id, None)
        await asyncio.to_thread(job.attempt.remove)

    async def discard(self, lab_id: str) -> None:
        """Forget what a lab kept for its restart, a machine's disk; not while an attempt of it lives."""
        if lab_id not in self._living():
            await asyncio.to_thread(self._machine.vm.disks.discard, lab_id)

    def _living(self) -> set[str]:
        return {job.attempt.about["lab_id"] for job in self._jobs.values() if not job.ended}

    async def get(self, job_id: str) -> Observation | None:
        """Return what is true of one job."""
        job = self._jobs.get(job_id)
        if job is None:
            return None
        if not job.ended:
            self._refresh(job)
        return job.attempt.observe(job.state)

    async def jobs(self) -> list[Observation]:
        """Return all jobs of this platform."""
        return [job.attempt.observe(job.state) for job in self._jobs.values()]

    def watch(self) -> AsyncIterator[Observation]:
        """Yield observations as things change."""
        return self._watchers.watch()

    # -- looking inside --------------------------------------------------------------------------------------------

    async def owns_listener(self, job_id: str) -> bool | None:
        """Return whether the lab's own processes hold the socket at its address; None when it does not run."""
        job = self._jobs.get(job_id)
        if job is None or job.state.get("phase") != "running":
            return None
        about = job.attempt.about
        if about["own_network"]:
            return True
        sockets = await asyncio.to_thread(listeners.inodes, about["address"], about["port"])
        pids = processes.descendants_of(job.state["shim"])
        return await asyncio.to_thread(listeners.held_by, pids, sockets)

    async def logs(self, job_id: str, *, lines: int) -> tuple[list[str], bool]:
        """Return the last log lines, and whether older ones exist."""
        return await asyncio.to_thread(logs.tail, self._layout.attempt(job_id), lines=lines)

    async def sample(self, job_id: str) -> Sample | None:
        """Return what the job uses now; cores since the last sample."""
        job = self._jobs.get(job_id)
        if job is None or job.state.get("phase") != "running":
            return None
        about, now = job.attempt.about, time.monotonic()
        use = meters.measure(dict(job.attempt.spec["cgroups"]), job.state["shim"])
        if job.sampled is None:
            job.sampled = meters.Rate(now - max(0.1, time.time() - job.state["started"]), 0.0)
            job.scratch = _scratch_of(job.attempt)
        network = job.attempt.spec.get("network")
        received, sent = (meters.traffic(network["interface"]) if network else None) or (None, None)
        return Sample(
            lab_id=about["lab_id"],
            at=datetime.now(tz=UTC),
            cores=job.sampled.cores(now, use.cpu_seconds) or 0.0,
            memory_mib=use.memory_mib,
            max_cores=about["cores"],
            max_memory_mib=about["memory_mib"],
            disk_mib=await job.scratch.used_mib(now) if job.scratch else None,
            max_disk_mib=about.get("disk_mib"),
            received_bytes=received,
            sent_bytes=sent,
        )

    async def active(self, job_id: str) -> bool | None:
        """Return whether the lab's CPU, processes or kernels say it is in use, since the last time this was asked."""
        job = self._jobs.get(job_id)
        if job is None or job.state.get("phase") != "running":
            return None
        about, now = job.attempt.about, time.monotonic()
        if about.get("machine"):
            return machines.busy(job.attempt.folder, now=time.time())
        use = meters.measure(dict(job.attempt.spec["cgroups"]), job.state["shim"])
        if job.judged is None:
            job.judged = meters.Rate(now, use.cpu_seconds)
            return None
        pids = processes.descendants_of(job.state["shim"])
        computes = activity.computes(job.judged.cores(now, use.cpu_seconds))
        if computes or await asyncio.to_thread(activity.occupied, pids):
            return True
        if about["activity"] == "jupyter":
            return await activity.kernels_busy(
                about["address"], about["port"], host="localhost", secret=about["lab_secret"]
            )
        return False


def _scratch_of(attempt: Attempt) -> meters.Scratch | None:
    """Return the place that a lab may fill, if it has one."""
    for source, target, _ in attempt.spec["binds"]:
        if target == SCRATCH:
            return meters.Scratch(Path(source))
    return None
