"""Which cluster labs run on; the only place that knows the adapters."""

import asyncio
import contextlib
import json
import os
import secrets
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from datalabs_contracts.datalabs import Runtime
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.containers.adapter import ContainerScheduler
from datalabs_launcher.containers.config import CONTAINERS, ContainerSettings
from datalabs_launcher.federation import Federation, Member
from datalabs_launcher.local import network
from datalabs_launcher.local.adapter import LocalScheduler
from datalabs_launcher.local.config import LOCAL, LocalSettings
from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.nomad.config import NOMAD, NomadSettings
from datalabs_launcher.scheduler import JobState, Scheduler, SchedulerAwayError
from datalabs_runtime.settings import PlatformSettings, SettingsError, load

AUTO = "auto"
FOUND = "nomad.found"
"""A note in the state folder: labs may run on the Nomad that was found, so it is asked for ever after."""
PLATFORM_ID = "platform.id"
LOOK_SECONDS = 1.0


def cluster_of(settings: LauncherSettings, platform: PlatformSettings, config: Path | None) -> Scheduler:
    """Return the clusters that the settings name, as one: Nomad first, where there is one, then this machine.

    Raises `SettingsError` for one that there is not.
    """
    if settings.scheduler not in {AUTO, LOCAL, NOMAD}:
        raise SettingsError(f"launcher.scheduler: there is no scheduler {settings.scheduler!r}")
    members: list[Member] = []
    own = load(LocalSettings, config)
    nomad = load(NomadSettings, config)
    looked_for = settings.scheduler == AUTO
    if settings.scheduler == NOMAD or (
        looked_for and (nomad.named or found(platform.state_folder / FOUND, nomad.address))
    ):
        members.append(_nomad(nomad, own, platform))
    if settings.scheduler != NOMAD:
        address, port = _door(platform)
        local = LocalScheduler(
            state_folder=platform.state_folder,
            settings=own,
            api_address=address,
            api_port=port,
        )
        members.append(Member(LOCAL, local))
        containers = ContainerScheduler(
            state_folder=platform.state_folder,
            settings=own,
            containers=load(ContainerSettings, config),
            api_address=address,
            api_port=port,
        )
        members.append(Member(CONTAINERS, containers))
    return Federation(members)


def _nomad(settings: NomadSettings, own: LocalSettings, platform: PlatformSettings) -> Member:
    """Return Nomad; labs of its kinds wait for it while it is away, and run nowhere else meanwhile."""
    scheduler = NomadScheduler(
        settings=settings,
        platform=platform_name(platform.secrets_folder / PLATFORM_ID),
        processes_per_lab=own.processes_per_lab,
        log_mib=own.log_mib,
    )
    claims = (Runtime.CONTAINER, Runtime.VM) if settings.nomad_image_disks else (Runtime.CONTAINER,)
    return Member(NOMAD, scheduler, claims)


def platform_name(file: Path) -> str:
    """Return what marks this platform's jobs on a cluster that others use too: made once, the same for all replicas.

    It lies among the secrets because these are backed up together; keys may change, this may not.

    Raises `SettingsError` when it can be neither read nor made.
    """
    made = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        if not file.exists():
            made.write_text(f"{secrets.token_hex(8)}\n")
            with contextlib.suppress(FileExistsError):  # another replica was first
                os.link(made, file)
        return file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)


def found(note: Path, address: str) -> bool:
    """Return whether a Nomad answers there, or did before: its labs are not forgotten while it is away.

    A program on PATH is none, and starts none.
    """
    if note.exists():
        return True
    where = urlsplit(address)
    connection = HTTPConnection(where.hostname or "", where.port or 0, timeout=LOOK_SECONDS)
    try:
        connection.request("GET", "/v1/status/leader")
        answers = bool(json.loads(connection.getresponse().read()))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    if answers:
        note.write_text(f"{address}\n")
    return answers


def _door(platform: PlatformSettings) -> tuple[str | None, int]:
    """Return where labs with a network of their own reach the edge; the public address may be another machine's."""
    parts = urlsplit(platform.api_url_for_labs or "")
    try:
        address = str(ip_address(parts.hostname or ""))
    except ValueError:
        return None, platform.labs_port
    return address, parts.port or platform.labs_port


def side_of(settings: LauncherSettings, platform: PlatformSettings) -> network.Plan | None:
    """Return the network whose side address labs are told to reach the edge at, when nobody else puts it in place.

    Labs of this machine do that themselves; with Nomad alone there are none.
    """
    if settings.scheduler != NOMAD or not network.may_make_networks():
        return None
    plan = network.plan_of(platform.state_folder)
    address, _ = _door(platform)
    return plan if address == plan.api_address else None


class ClusterPart:
    """The cluster as a part of the service."""

    name = "cluster"

    def __init__(self, scheduler: Scheduler, side: network.Plan | None = None) -> None:
        self._scheduler = scheduler
        self._side = side

    async def start(self) -> None:
        """Find what runs already."""
        if self._side is not None:
            try:
                await asyncio.to_thread(network.offer_side, self._side)
            except OSError as error:
                structlog.get_logger(__name__).warning("cluster.no_side_address", reason=str(error))
        await self._scheduler.start()

    async def aclose(self) -> None:
        """Let go; labs live on."""
        if self._side is not None and not await self._inhabited():
            await asyncio.to_thread(network.withdraw_side, self._side)
        await self._scheduler.aclose()

    async def _inhabited(self) -> bool:
        """Return whether labs live, as far as can be told."""
        try:
            return any(seen.state is not JobState.ENDED for seen in await self._scheduler.jobs())
        except SchedulerAwayError:
            return True
