"""Settings of the Nomad scheduler; they stand in the launcher's own section of the settings file."""

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_launcher.machines.arguments import Accelerator
from datalabs_runtime.settings import Settings

NOMAD = "nomad"
"""The cluster that Nomad runs."""
USUAL_ADDRESS = "http://127.0.0.1:4646"
"""Where an agent answers on its own machine unless told otherwise."""


class NomadSettings(Settings):
    """Section [launcher] of the settings file: what concerns labs on Nomad. Memory in MiB, times in seconds.

    Nomad's own variables NOMAD_ADDR, NOMAD_TOKEN, NOMAD_CACERT, NOMAD_CLIENT_CERT, NOMAD_CLIENT_KEY, NOMAD_NAMESPACE and
    NOMAD_REGION count where a setting is not given.
    """

    section: ClassVar[str] = "launcher"

    nomad_address: str = Field(
        default="", description="Address of Nomad's API; unset: NOMAD_ADDR, else the usual loopback port."
    )
    nomad_token_file: Path | None = Field(
        default=None, description="File with the launcher's ACL token, read anew each time it is refused."
    )
    nomad_namespace: str = Field(default="", description="Namespace of the labs' jobs; unset: `default`.")
    nomad_region: str = Field(default="", description="Region of the cluster; unset: the agent's own.")
    nomad_ca_file: Path | None = Field(
        default=None, description="CA that signed the cluster's certificates; unset: the system's."
    )
    nomad_client_cert: Path | None = Field(
        default=None, description="Certificate with which the launcher presents itself."
    )
    nomad_client_key: Path | None = Field(default=None, description="Key of that certificate.")
    nomad_node_pool: str = Field(default="", description="Node pool of the labs; unset: Nomad's `default`.")
    nomad_priority: int = Field(default=50, ge=1, le=100, description="Priority of the labs' jobs.")
    nomad_wait: float = Field(
        default=10.0, gt=0, description="Longest wait for an answer; then the cluster counts as silent."
    )
    nomad_silence: float = Field(
        default=75.0,
        gt=0,
        description="Silence of the event stream after which it counts as broken; Nomad says something each 30 s.",
    )
    nomad_pulse: float = Field(
        default=10.0, gt=0, description="Seconds without news after which Nomad is asked whether it is there."
    )
    nomad_lost_after: float = Field(
        default=600.0,
        gt=0,
        description="A machine that was not heard of for so long is lost, and its labs have ended.",
    )
    nomad_network: str = Field(
        default="", description="Docker network of container labs on the nodes; unset: Docker's own bridge."
    )
    nomad_host_network: str = Field(
        default="", description="Host network on which labs' ports are published; unset: the nodes' default."
    )
    nomad_volume: str = Field(
        default="",
        description="Host volume that a node must have to take labs: it stands for the shared files. Unset: none.",
    )
    nomad_core_mhz: int = Field(
        default=1000, gt=0, description="What counts as one core of a lab, in Nomad's MHz."
    )
    nomad_cpu_hard_limit: bool = Field(
        default=False, description="Hold labs to their cores also where more are idle."
    )
    nomad_gpu_runtime: str = Field(
        default="nvidia", description="Docker runtime of labs with GPUs; empty: Docker's default."
    )
    nomad_image_disks: Path | None = Field(
        default=None, description="Folder of the disks of virtual machines on the nodes."
    )
    nomad_vm_accelerator: Accelerator = Field(
        default=Accelerator.TCG, description="`kvm` where the nodes can, else `tcg`: software emulation."
    )
    nomad_vm_cpu: str = Field(
        default="",
        description="CPU model of virtual machines, as QEMU names it; unset: the accelerator's best.",
    )
    nomad_vm_network: bool = Field(
        default=False,
        description="Let virtual machines reach whatever their node reaches, its loopback included.",
    )
    nomad_allow_raw_exec: bool = Field(
        default=False,
        description="Let the launcher run programs on the nodes outside containers: for disks of virtual machines that outlive a crash, and for process labs.",
    )
    nomad_environments: Path | None = Field(
        default=None,
        description="Folder on the nodes with an environment `<datalab>-<version>` of each process lab.",
    )

    @property
    def address(self) -> str:
        """Where Nomad is asked."""
        return (self.nomad_address or os.environ.get("NOMAD_ADDR") or USUAL_ADDRESS).rstrip("/")

    @property
    def named(self) -> bool:
        """Whether somebody said where Nomad is."""
        return bool(self.nomad_address or os.environ.get("NOMAD_ADDR"))

    @property
    def namespace(self) -> str:
        """The namespace of all jobs."""
        return self.nomad_namespace or os.environ.get("NOMAD_NAMESPACE") or "default"

    @property
    def region(self) -> str | None:
        """The region, when not the agent's own."""
        return self.nomad_region or os.environ.get("NOMAD_REGION") or None

    @property
    def verify(self) -> str | bool:
        """What certificates are checked against; they always are."""
        return str(self.nomad_ca_file) if self.nomad_ca_file else os.environ.get("NOMAD_CACERT") or True

    @property
    def client_certificate(self) -> tuple[str, str] | None:
        """Certificate and key of the launcher."""
        certificate = self.nomad_client_cert or os.environ.get("NOMAD_CLIENT_CERT")
        key = self.nomad_client_key or os.environ.get("NOMAD_CLIENT_KEY")
        return (str(certificate), str(key)) if certificate and key else None

    def token(self) -> str | None:
        """Return the ACL token as it is now."""
        if self.nomad_token_file is not None:
            return self.nomad_token_file.read_text().strip()
        return os.environ.get("NOMAD_TOKEN") or None
