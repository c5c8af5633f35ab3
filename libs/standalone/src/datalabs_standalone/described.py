"""All settings of the one-machine platform as described classes; slow to import, so only where they are needed."""

import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from pydantic import Field

from datalabs_contracts.rpc import SERVICES
from datalabs_runtime.settings import (
    NatsSettings,
    PlatformSettings,
    PostgresSettings,
    SettingOrigin,
    Settings,
    TelemetrySettings,
    explain,
)
from datalabs_runtime.settings import SettingsError as UnusableSettings
from datalabs_standalone.failures import SettingsError


class StandaloneSettings(Settings):
    """Where the platform listens on this machine."""

    section: ClassVar[str] = "standalone"

    host: str = Field(default="127.0.0.1", description="Address that browsers connect to.")
    port: int = Field(default=8080, ge=1, le=65_535, description="Port that browsers connect to.")
    labs_address: str = Field(
        default="",
        description="Second address, for labs with a network of their own: they reach the API there and nothing "
        "else. Empty: chosen for this state folder.",
    )
    nats_port: int = Field(
        default=0,
        ge=0,
        description="Where NATS listens when services reach it through something else; 0: as they do.",
    )
    hung_seconds: float = Field(
        default=20.0,
        ge=0,
        description="A service that has not answered for so long is killed and started again, labs go on; 0: never.",
    )
    edge_workers: int = Field(default=0, ge=0, description="Threads of the edge; 0: half of the cores.")


def settings_classes() -> list[type[Settings]]:
    """Return every settings class: the platform's, then each service's own (`datalabs_<service>.config`)."""
    classes: list[type[Settings]] = [
        PlatformSettings,
        StandaloneSettings,
        NatsSettings,
        PostgresSettings,
        TelemetrySettings,
    ]
    for service in SERVICES:
        for module in _config_modules(f"datalabs_{service}"):
            classes.extend(
                one
                for _name, one in inspect.getmembers(module, inspect.isclass)
                if issubclass(one, Settings) and one.__module__ == module.__name__ and one.section
            )
    return classes


def _config_modules(package: str) -> list[ModuleType]:
    """Return a service's own `config` and those of its adapters."""
    folders = importlib.import_module(package).__path__
    names = [package, *(f"{package}.{one.name}" for one in pkgutil.iter_modules(folders) if one.ispkg)]
    return [
        importlib.import_module(f"{name}.config")
        for name in names
        if importlib.util.find_spec(f"{name}.config")
    ]


def all_settings(file: Path) -> list[SettingOrigin]:
    """Return each value and where it comes from.

    Raises `SettingsError` when a value cannot be used.
    """
    try:
        return [origin for cls in settings_classes() for origin in explain(cls, file)]
    except UnusableSettings as error:
        raise SettingsError(str(error)) from error
