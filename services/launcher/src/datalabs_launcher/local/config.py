"""Settings of the local scheduler; they stand in the launcher's own section of the settings file."""

from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings

LOCAL = "local"
"""The cluster that is this machine."""


class Isolation(StrEnum):
    """How a process lab is kept apart from everything else."""

    ROOT = "root"
    USER = "user"
    NONE = "none"


class VmAccelerator(StrEnum):
    """What runs the instructions of virtual machines; `auto`: KVM where a trial shows that it works."""

    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class LocalSettings(Settings):
    """Section [launcher] of the settings file: what concerns labs on this machine. Memory in MiB, times in seconds."""

    section: ClassVar[str] = "launcher"

    isolation: Isolation | None = Field(
        default=None,
        description="`root`: own namespaces and user per person; `user`: own namespaces; `none`. Unset: the best that works.",
    )
    insecure_process_labs: bool = Field(
        default=False, description="Let everybody launch process labs also where they cannot be kept apart."
    )
    own_network: bool = Field(
        default=True, description="Give each lab a network namespace of its own where that is possible."
    )
    egress: bool = Field(default=True, description="Let labs with a network of their own reach the internet.")
    egress_refused: list[str] = Field(
        default_factory=lambda: ["169.254.0.0/16"],
        description="Networks that labs may never reach; by default the clouds' metadata addresses.",
    )
    core_overcommit: float = Field(
        default=16.0, ge=1, description="How often each core is promised; cores are shares, not quotas."
    )
    memory_reserve_mib: int | None = Field(
        default=None,
        ge=0,
        description="Memory kept for the platform; unset: a tenth, at least 1024 and at most 4096.",
    )
    processes_per_lab: int = Field(
        default=1024, ge=32, description="Processes and threads that one lab may have."
    )
    files_per_mib: int = Field(
        default=256, ge=1, description="Files that a lab's scratch may hold for each MiB of its size."
    )
    disk_check: float = Field(
        default=5.0, gt=0, description="Pause between looks at what labs have written to their scratch."
    )
    fork_patience: float = Field(
        default=10.0,
        gt=0,
        description="A lab that stands at its limit of processes for so long, and was refused more, is ended.",
    )
    log_mib: int = Field(
        default=5, ge=1, description="Size at which a lab's log is turned over; two are kept."
    )
    startup_seconds: float = Field(
        default=1.0, gt=0, description="How long a starting lab counts as busy when starts are paced."
    )
    python: Path | None = Field(
        default=None, description="Python of the labs' environments; unset: the platform's own."
    )
    lab_package: Path | None = Field(
        default=None, description="Source folder or wheel of datalabs-lab; unset: beside the platform."
    )
    offline: bool = Field(default=False, description="Build environments only from uv's cache.")
    passed_environment: list[str] = Field(
        default_factory=lambda: [
            *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"),
            *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_INDEX_URL"),
            *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "TZ"),
        ],
        description="Variables of the platform that labs get too; a value with a password in its URL is left out.",
    )
    vm_accelerator: VmAccelerator = Field(
        default=VmAccelerator.AUTO,
        description="`kvm`: hardware; `tcg`: software, 5 to 20 times slower; `auto`: KVM where a trial shows that it works.",
    )
    vm_cpu: str | None = Field(
        default=None, description="QEMU's processor model for virtual machines; unset: one that suits."
    )
    vm_images: list[Path] = Field(
        default_factory=list,
        description="Folders with images of virtual machines, beside what `make vm-image` built here.",
    )
    vm_disk_keep_hours: float = Field(
        default=60 * 24,
        gt=0,
        description="When an unused disk of a virtual machine goes even if nobody said so; longer than files are kept.",
    )
