"""Which cluster labs run on; the only place that knows the adapters."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.federation import Federation, Member
from datalabs_launcher.local.adapter import LocalScheduler
from datalabs_launcher.local.config import LOCAL, LocalSettings
from datalabs_launcher.scheduler import Scheduler
from datalabs_runtime.settings import PlatformSettings, SettingsError, load


def cluster_of(settings: LauncherSettings, platform: PlatformSettings, config: Path | None) -> Scheduler:
    """Return the clusters that the settings name, as one.

    Raises `SettingsError` for one that there is not.
    """
    if settings.scheduler not in {"auto", "local"}:
        raise SettingsError(f"launcher.scheduler: there is no scheduler {settings.scheduler!r}")
    address, port = _door(platform)
    local = LocalScheduler(
        state_folder=platform.state_folder,
        settings=load(LocalSettings, config),
        api_address=address,
        api_port=port,
    )
    return Federation([Member(LOCAL, local)])


def _door(platform: PlatformSettings) -> tuple[str | None, int]:
    """Return where labs with a network of their own reach the edge; the public address may be another machine's."""
    parts = urlsplit(platform.api_url_for_labs or "")
    try:
        address = str(ip_address(parts.hostname or ""))
    except ValueError:
        return None, platform.labs_port
    return address, parts.port or platform.labs_port


class ClusterPart:
    """The cluster as a part of the service."""

    name = "cluster"

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def start(self) -> None:
        """Find what runs already."""
        await self._scheduler.start()

    async def aclose(self) -> None:
        """Let go; labs live on."""
        await self._scheduler.aclose()
