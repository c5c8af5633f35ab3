"""Settings of the launcher."""

import socket
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings


class LauncherSettings(Settings):
    """Section [launcher] of the settings file; durations in seconds."""

    section: ClassVar[str] = "launcher"

    scheduler: str = Field(
        default="auto",
        description="`local`: this machine; `nomad`: a Nomad cluster; `auto`: this machine, and Nomad where there is one.",
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        description="Name of this instance, the host's unless given; a restarted one takes its claims back at once.",
    )
    crash_points: Path | None = Field(
        default=None,
        description="A Unix socket that is told of each step of a lab and says when to go on; for tests of failures only.",
    )
    first_port: int = Field(default=20_000, ge=1024, description="First port of the labs' address ring.")
    last_port: int = Field(
        default=31_999, le=32_767, description="Last port of the ring, below the kernel's ephemeral range."
    )
    address_rest: float = Field(
        default=120,
        ge=120,
        description="Rest of an address after its lab's end, longer than any route token.",
    )
    queue_timeout: float = Field(
        default=24 * 3600, gt=0, description="Longest wait in the queue; then `no_capacity`."
    )
    max_queued: int = Field(
        default=20, ge=1, description="Labs of one person that may wait for capacity at once."
    )
    queue_passes: int = Field(
        default=20,
        ge=1,
        description="Labs that may start before one that waits for room; then a node is kept free.",
    )
    queue_reserve_after: float = Field(
        default=600,
        ge=0,
        description="Wait for room after which a node is kept free for a lab, whoever passed.",
    )
    queue_patience: float = Field(
        default=3600,
        gt=0,
        description="Wait after which age goes before the owner's share, within a priority.",
    )
    volumes_timeout: float = Field(
        default=900,
        gt=0,
        description="Longest making of volumes, collections being installed included; then `volume_unavailable`.",
    )
    environment_timeout: float = Field(
        default=1800, gt=0, description="Longest wait for an environment or image; then `image_unavailable`."
    )
    placing_timeout: float = Field(
        default=600, gt=0, description="Longest wait for a start slot; then `no_capacity`."
    )
    start_grace: float = Field(
        default=1.0, ge=0, description="Grace between end and kill of a lab that never was ready."
    )
    stop_repeat: float = Field(default=2.0, gt=0, description="Pause between repeated requests to end a lab.")
    unreachable_after: float = Field(
        default=15, gt=0, description="Silence of the scheduler after which ready labs are `unreachable`."
    )
    lifetime: float = Field(
        default=12 * 3600, gt=0, description="How long a lab runs unless its datalab says otherwise."
    )
    extension: float = Field(
        default=6 * 3600,
        gt=0,
        description="An extension that names no length moves the expiry so far from now.",
    )
    max_lifetime: float = Field(
        default=7 * 24 * 3600, gt=0, description="An expiry may never lie further ahead than this."
    )
    max_keep: float = Field(
        default=14 * 24 * 3600, gt=0, description="A lab may be kept for a long run so far ahead at most."
    )
    keep_files: float = Field(
        default=7 * 24 * 3600,
        ge=0,
        description="How long an ended lab's scratch, or a VM's disk, can be had back by a restart.",
    )
    idle_check: float = Field(
        default=30, gt=0, description="Pause between looks at the labs' own signs of use."
    )
    poll: float = Field(default=1.0, gt=0, description="Pause between looks for due labs: a fallback only.")
    reconcile: float = Field(
        default=60, gt=0, description="Pause between full comparisons with the scheduler."
    )
    sample: float = Field(
        default=5, gt=0, description="Pause between measurements of a running lab; 0.1 at least."
    )
    lease: float = Field(
        default=3.5,
        gt=0.5,
        description="Silence after which another instance follows the clusters' news and measures.",
    )
    claim: float = Field(
        default=30, gt=0, description="How long one instance may hold a lab for its next step."
    )
    probe_timeout: float = Field(default=2.0, gt=0, description="Longest wait for one readiness answer.")
    keep_logs_days: float = Field(
        default=30, gt=0, description="Days that the logs of ended attempts are kept."
    )
    keep_labs_days: float = Field(default=365, gt=0, description="Days that ended labs are kept.")
    keep_deleted_days: float = Field(
        default=7, gt=0, description="Days that deleted labs stay in the database, unseen."
    )

    @property
    def rest(self) -> timedelta:
        """How long an address rests."""
        return timedelta(seconds=self.address_rest)
