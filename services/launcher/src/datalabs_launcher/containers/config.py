"""Settings of container labs; they stand in the launcher's own section of the settings file."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings

CONTAINERS = "containers"
"""What the federation calls the engine of this machine; its machine is the same as that of process labs."""


class ContainerSettings(Settings):
    """Section [launcher] of the settings file: what concerns container labs on this machine. Times in seconds."""

    section: ClassVar[str] = "launcher"

    containers: bool = Field(
        default=True, description="Run labs as containers when a Docker engine answers on this machine."
    )
    engine_socket: Path = Field(
        default=Path("/var/run/docker.sock"),
        description="The Docker engine's socket; only an engine of this very machine can mount the labs' files.",
    )
    engine_timeout: float = Field(
        default=60, gt=0, description="Longest wait for one answer of the engine, pulls apart."
    )
    core_burst: float = Field(
        default=4.0,
        ge=1,
        description="How far above its cores a container lab may go while the machine is free; one core at least.",
    )
