"""The `nomad` scheduler: labs as jobs of a Nomad cluster. Fills the port of `scheduler.py`.

Truth is in Nomad; what is kept here is a view of it, told by events and compared with lists. Silence means that nothing is
known: every call then raises `SchedulerAwayError`, and no lab is concluded dead.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from datalabs_contracts.datalabs import EnvironmentSpecification, Runtime
from datalabs_contracts.labs import Capacity, Reason, Sample
from datalabs_launcher.local import activity
from datalabs_launcher.machines import image
from datalabs_launcher.nomad import button, nodes, readings
from datalabs_launcher.nomad.client import NomadClient
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.errors import JobExistsError, NomadRejectedError
from datalabs_launcher.nomad.follower import Follower
from datalabs_launcher.nomad.hearing import Hearing
from datalabs_launcher.nomad.images import Images, fetch_id
from datalabs_launcher.nomad.job import PREFIX, Cluster, freed, job_of, meta_of, room_mib, secrets_of
from datalabs_launcher.nomad.observing import KILL, OVER, Known, observe
from datalabs_launcher.nomad.pacing import Paces
from datalabs_launcher.nomad.stream import EventStream
from datalabs_launcher.nomad.tasks import MAIN
from datalabs_launcher.nomad.view import View
from datalabs_launcher.nomad.vm_task import Disk
from datalabs_launcher.scheduler import (
    EnvironmentProgress,
    JobState,
    LabJob,
    Observation,
    SchedulerAwayError,
    SubmitRefusedError,
)

SAME = ("datalabs_platform", "datalabs_lab", "datalabs_attempt")
"""Meta that two jobs of one id must share to be one attempt."""
SWEEP = 600.0
"""Seconds between looks for secrets without a job, and their age then."""
MEASURED_FRESH = 30.0
"""Seconds for which a measurement says something of now."""


class NomadScheduler:
    """A Nomad cluster as the launcher sees it."""

    def __init__(
        self, *, settings: NomadSettings, platform: str, processes_per_lab: int = 1024, log_mib: int = 5
    ) -> None:
        """Run labs of the platform of that name; several platforms may share a cluster."""
        self._settings = settings
        self._cluster = Cluster(
            platform=platform, settings=settings, processes_per_lab=processes_per_lab, log_mib=log_mib
        )
        self._client = NomadClient(settings)
        self._view = View(platform, PREFIX)
        self._paces = Paces(now=time.monotonic)
        self._images = Images(client=self._client, settings=settings, platform=platform)
        self._follower = Follower(
            client=self._client,
            stream=EventStream(settings),
            view=self._view,
            prefix=PREFIX,
            lost_after=timedelta(seconds=settings.nomad_lost_after),
            pulse=settings.nomad_pulse,
            must_stop=self._must_stop,
            seen=self._seen,
            look=self._look,
        )
        self._hearing = Hearing(client=self._client, view=self._view, tell=self._follower.tell)
        self._kills: dict[str, asyncio.Task[None]] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._log = structlog.get_logger(__name__)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow the cluster; one that is away keeps nobody from starting."""
        await self._follower.start()
        loop = asyncio.get_running_loop()
        self._loops = [
            loop.create_task(self._sweep(), name="nomad secrets"),
            loop.create_task(self._hearing.run(), name="nomad guests"),
        ]

    async def aclose(self) -> None:
        """Let go; labs live on."""
        await self._follower.aclose()
        tasks = [*self._loops, *self._kills.values(), *self._errands]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._client.close()

    async def _sweep(self) -> None:
        """Destroy secrets of jobs that never came to be: their launcher died, or Nomad was away in between."""
        while True:
            await asyncio.sleep(SWEEP)
            with contextlib.suppress(SchedulerAwayError, NomadRejectedError):
                old = datetime.now(tz=UTC) - timedelta(seconds=SWEEP)
                for job_id in await self._client.secrets_without_job(PREFIX, older_than=old):
                    await self._client.drop_secrets(job_id)

    def _seen(self, seen: Observation) -> None:
        """Take from a piece of news what concerns the pace, the kills and the images."""
        known = self._view.jobs.get(seen.job_id)
        first = known.first if known else None
        if first is not None and seen.state is JobState.PENDING:
            self._paces.placed(seen.job_id, str(first.get("NodeName")))
        elif seen.state is not JobState.PENDING:
            self._paces.started(seen.job_id, seen.node, readings.start_seconds(seen, first))
        if seen.state is JobState.ENDED:
            kill = self._kills.pop(seen.job_id, None)
            if kill is not None:
                kill.cancel()
            if seen.end is not None and seen.end.image_unavailable and known is not None:
                self._errand(self._forget_image(known.meta.get("datalabs_image", "")))

    async def _forget_image(self, name: str) -> None:
        """Have an image fetched again before the next lab that needs it."""
        await self._client.deregister(fetch_id(name), purge=True)

    def _must_stop(self, known: Known) -> None:
        """End a job that Nomad has placed again, or that is lost: a lab runs once or not at all."""
        known.stop = True
        self._log.warning("nomad.job_stopped", job=known.job_id, placed=len(known.allocations))
        self._errand(self._client.deregister(known.job_id, purge=False))

    def _look(self) -> None:
        """Let jobs go elsewhere whose own machine went before it had taken them."""
        for job_id in self._view.stranded():
            self._errand(self._free(job_id))

    async def _free(self, job_id: str) -> None:
        job = await self._client.job(job_id)
        if job is not None and not await self._client.allocations_of(job_id):
            await self._client.amend(freed(job))
            self._log.info("nomad.freed", job=job_id)

    def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        async def _do() -> None:
            with contextlib.suppress(SchedulerAwayError, NomadRejectedError):  # the next look finds it again
                await work

        task = asyncio.get_running_loop().create_task(_do(), name="nomad errand")
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    # -- what is there ---------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._follower.fault is not None:
            raise self._follower.fault

    def _machines(self) -> list[nodes.Document]:
        self._check()
        return [node for node in self._view.nodes.values() if nodes.runs_labs(node, self._settings)]

    async def runtimes(self) -> list[Runtime]:
        """Return what the machines that are up can run."""
        machines = [node for node in self._machines() if node.get("Status") == "ready"]
        offered = {one for node in machines for one in nodes.runtimes_of(node, self._settings)}
        return [one for one in (Runtime.CONTAINER, Runtime.VM, Runtime.PROCESS) if one in offered]

    async def notices(self, runtime: Runtime) -> list[str]:
        """Return what a person should know before launching here."""
        self._check()
        settings = self._settings
        if runtime is Runtime.PROCESS:
            return ["Process labs on the cluster are not kept apart from one another."]
        if runtime is Runtime.CONTAINER and not settings.nomad_network:
            return ["Container labs on the cluster reach one another and services of their machine."]
        if runtime is Runtime.VM and not settings.nomad_allow_raw_exec:
            return ["What a virtual machine writes outside your home and scratch goes with it."]
        return []

    async def refuses(self, runtime: Runtime, *, operator: bool) -> str | None:
        """Return why this person may not launch here; None when nothing speaks against it."""
        if runtime is Runtime.PROCESS and not operator:
            return (
                "Process labs cannot be kept apart on the cluster, so only operators may launch them there."
            )
        return None

    async def capacity(self) -> Capacity:
        """Return all machines with what Nomad has reserved of them for this platform's labs."""
        on_node = self._view.by_node()
        room = room_mib(self._cluster.log_mib)
        found = [
            nodes.node_of(node, *on_node[str(node["ID"])], self._settings, lab_disk_mib=room)
            for node in self._machines()
        ]
        return nodes.capacity_of(sorted(found, key=lambda node: node.name), [])

    async def may_start(self) -> bool:
        """Return whether a machine bears another start, by how its latest ones went."""
        return self._paces.may_start(
            [str(node.get("Name")) for node in self._machines() if nodes.takes_labs(node)]
        )

    async def prepare(
        self, specification: EnvironmentSpecification, runtime: Runtime
    ) -> AsyncIterator[EnvironmentProgress]:
        """Make a version's image ready on all machines."""
        runtimes = specification.runtimes
        if runtime is Runtime.CONTAINER and runtimes.container is not None:
            machines = [node for node in self._machines() if nodes.takes_labs(node)]
            async for progress in self._images.fetch(runtimes.container.image, machines=len(machines)):
                yield progress
        elif runtime is Runtime.VM and runtimes.vm is not None:
            try:
                disk = await asyncio.to_thread(self._disk, runtimes.vm.disk)
            except image.ImageError as error:
                yield EnvironmentProgress(ready=False, failed=True, fraction=0, text=str(error))
            else:
                title = disk.about.title or disk.about.name
                yield EnvironmentProgress(ready=True, fraction=1.0, text=f"{title} is there")
        elif runtime is Runtime.PROCESS and self._settings.nomad_environments is not None:
            yield EnvironmentProgress(ready=True, fraction=1.0, text="Kept by the operator")
        else:
            text = f"The cluster cannot run it as {runtime}."
            yield EnvironmentProgress(ready=False, failed=True, fraction=0, text=text)

    def _disk(self, name: str) -> Disk:
        """Return an image of virtual machines; its folder is the same here and on the nodes.

        Raises `ImageError`.
        """
        folder = (self._settings.nomad_image_disks or Path("/nonexistent")) / name
        return Disk(folder=str(folder), about=image.read(folder))

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: LabJob) -> Observation:
        """Register the job, once however often this is called: it is created or adopted, never changed."""
        try:
            disk = None
            if job.runtime is Runtime.VM and job.vm is not None:
                disk = await asyncio.to_thread(self._disk, job.vm.disk)
            node_id = self._view.open_node(job.node) if job.node else None
            wanted = job_of(job, self._cluster, disk=disk, node_id=node_id)
            secrets = secrets_of(job, self._cluster)
        except image.ImageError as error:
            raise SubmitRefusedError(str(error), reason=Reason.IMAGE_UNAVAILABLE) from None
        except ValueError as error:
            raise SubmitRefusedError(str(error)) from None
        known = self._view.jobs.get(job.job_id)
        if known is not None and self._view.ours(known) and self._follower.fault is None:
            return self._observe(known)
        try:
            if secrets:
                await self._client.put_secrets(job.job_id, secrets)
            self._paces.handed_over(job.job_id)
            warnings = await self._client.register(wanted)
        except JobExistsError:
            return await self._adopt(job)
        except NomadRejectedError as error:
            await self._client.drop_secrets(job.job_id)
            raise SubmitRefusedError(f"Nomad does not take this job: {error}") from None
        if warnings:
            self._log.warning("nomad.registered_with_warnings", job=job.job_id, warnings=warnings)
        known = self._view.jobs.get(job.job_id) or Known(job.job_id)
        known.meta = known.meta or meta_of(job, self._cluster.platform)
        known.submitted_at = known.submitted_at or datetime.now(tz=UTC)
        return self._observe(known)

    async def _adopt(self, job: LabJob) -> Observation:
        """Take a job that is there already for ours, if it is."""
        known = await self._ask(job.job_id)
        if known is None:
            raise SchedulerAwayError("Nomad had the job and lost it in the same moment.")
        meant = meta_of(job, self._cluster.platform)
        if any(known.meta.get(name) != meant[name] for name in SAME):
            raise SubmitRefusedError(f"The cluster has another job of the name {job.job_id}.")
        return self._observe(known)

    async def stop(self, job_id: str, *, grace: float) -> None:
        """Ask the job to end, kill it after `grace` seconds; returns at once.

        Nomad kills after the job's own time; a shorter grace is kept by a signal of ours, as long as we live.
        """
        await self._client.deregister(job_id, purge=False)
        known = self._view.jobs.get(job_id)
        if known is not None:
            known.stop = True
            place = self._observe(known)
            if known.meta.get("datalabs_runtime") == Runtime.VM and place.address and place.port:
                self._errand(self._press(place.address, place.port))
        before = self._kills.pop(job_id, None)
        if before is not None:
            before.cancel()
        self._kills[job_id] = asyncio.get_running_loop().create_task(
            self._kill(job_id, grace), name=f"kill {job_id}"
        )

    async def _press(self, address: str, port: int) -> None:
        if not await button.press(address, port):
            self._log.info("nomad.button_not_pressed", address=address, port=port)

    async def _kill(self, job_id: str, grace: float) -> None:
        await asyncio.sleep(grace)
        with contextlib.suppress(SchedulerAwayError):
            for one in await self._client.allocations_of(job_id):
                if one.get("ClientStatus") not in OVER:
                    await self._client.signal(str(one["ID"]), task=MAIN, signal=KILL)
        self._kills.pop(job_id, None)

    async def purge(self, job_id: str) -> None:
        """Forget an ended job and its secrets."""
        await self._client.drop_secrets(job_id)
        await self._client.deregister(job_id, purge=True)
        self._follower.forget(job_id)

    async def get(self, job_id: str) -> Observation | None:
        """Return what is true of one job, asked of Nomad itself."""
        known = await self._ask(job_id)
        return None if known is None else self._observe(known)

    async def _ask(self, job_id: str) -> Known | None:
        """Ask for one job and put the view right."""
        job = await self._client.job(job_id)
        if job is None:
            known = self._view.jobs.get(job_id)
            return known if known is not None and known.allocations else None
        allocations = await self._client.allocations_of(job_id)
        known = self._view.note_job(job)
        for allocation in allocations:
            self._view.note_allocation(allocation)
        if not allocations:
            for evaluation in await self._client.evaluations_of(job_id):
                self._view.note_evaluation(evaluation)
        return known

    def _observe(self, known: Known) -> Observation:
        return observe(
            known,
            now=datetime.now(tz=UTC),
            lost_after=timedelta(seconds=self._settings.nomad_lost_after),
            early=self._view.early,
        )

    async def jobs(self) -> list[Observation]:
        """Return all jobs of this platform, listed anew."""
        return await self._follower.compare()

    def watch(self) -> AsyncIterator[Observation]:
        """Yield observations as things change."""
        return self._follower.watch()

    # -- looking inside --------------------------------------------------------------------------------------------

    async def owns_listener(self, job_id: str) -> bool | None:
        """Return whether what answers at the lab's address is the lab; None where another program could.

        A container engine and QEMU hold the port of the ring themselves, and end when they cannot have it.
        """
        known = self._view.jobs.get(job_id)
        if known is None or known.meta.get("datalabs_runtime") == Runtime.PROCESS:
            return None
        return True

    async def logs(self, job_id: str, *, lines: int) -> tuple[list[str], bool]:
        """Return the last log lines, and whether older ones exist: what it said, then what it complained of."""
        known = await self._placed(job_id)
        if known is None or known.first is None:
            return [], False
        return await self._hearing.logs(known, self._observe(known), lines=lines)

    async def sample(self, job_id: str) -> Sample | None:
        """Return what the job uses now, as its node measured it last."""
        known = self._view.jobs.get(job_id)
        first = known.first if known else None
        if known is None or first is None or first.get("ClientStatus") != "running":
            return None
        stats = await self._client.stats(str(first["ID"]))
        return readings.sample_of(known, stats) if stats else None

    async def active(self, job_id: str) -> bool | None:
        """Return whether the lab's CPU or its kernels say that it is in use; None when neither is known."""
        known = self._view.jobs.get(job_id)
        seen = await self.sample(job_id)
        if known is None or seen is None or readings.age(seen) > MEASURED_FRESH:
            return None
        if readings.computes(seen):
            return True
        if known.meta.get("datalabs_activity") != "jupyter":
            return False
        place = self._observe(known)
        if place.address is None or place.port is None:
            return None
        secret = (await self._client.secrets(job_id)).get("DATALABS_LAB_SECRET", "")
        return await activity.kernels_busy(place.address, place.port, host="localhost", secret=secret)

    async def _placed(self, job_id: str) -> Known | None:
        """Return a job with the allocation that is the lab."""
        known = self._view.jobs.get(job_id)
        return known if known is not None and known.first is not None else await self._ask(job_id)
