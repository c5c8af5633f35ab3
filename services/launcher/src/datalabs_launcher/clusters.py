"""Which cluster labs run on; the only place that knows the adapters."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.local.adapter import LocalScheduler
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.scheduler import Scheduler
from datalabs_runtime.settings import PlatformSettings, SettingsError, load


def cluster_of(settings: LauncherSettings, platform: PlatformSettings, config: Path | None) -> Scheduler:
    """Return the cluster that the settings name.

    Raises `SettingsError` for one that there is not.
    """
    if settings.scheduler not in {"auto", "local"}:
        raise SettingsError(f"launcher.scheduler: there is no scheduler {settings.scheduler!r}")
    return LocalScheduler(
        state_folder=platform.state_folder,
        settings=load(LocalSettings, config),
        api_address=_address(platform.api_url_for_labs),
        api_port=platform.labs_port,
    )


def _address(url: str | None) -> str | None:
    """Return the address in a URL, if it has one: labs with a network of their own reach the edge there."""
    host = urlsplit(url).hostname if url else None
    try:
        return str(ip_address(host)) if host else None
    except ValueError:
        return None


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
