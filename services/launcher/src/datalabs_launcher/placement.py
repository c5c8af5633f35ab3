"""From a lab and its volumes to the job that the scheduler gets: pure, so that what we submit can be read in a test."""

import hashlib
import hmac
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from datalabs_contracts.datalabs import Kind, Runtime, Runtimes
from datalabs_contracts.ids import job_id_of
from datalabs_contracts.volumes import Mount, PreparedVolumes
from datalabs_launcher.commands import Fields, fill
from datalabs_launcher.models import LabRecord
from datalabs_launcher.scheduler import LabJob
from datalabs_runtime import telemetry

HOME, SCRATCH, DATA = "/media/home", "/media/scratch", "/data"
"""Where a lab finds its files (DESIGN section 10)."""
TOKEN_NAME = ".datalabs-token"  # noqa: S105 - a file's name
DESKTOP_PAGE = "/.datalabs/desktop"
"""The gateway's page on a lab's origin that shows a desktop."""
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a lab must know of the platform around it; `edge_key` makes the labs' secrets."""

    scheme: str
    domain: str
    port: int
    api_url: str
    edge_key: bytes

    def origin(self, lab_id: str) -> str:
        """Return the public origin of a lab."""
        port = "" if DEFAULT_PORTS.get(self.scheme) == self.port else f":{self.port}"
        return f"{self.scheme}://{lab_id}.{self.domain}{port}"

    def lab_secret(self, lab_id: str, attempt: int) -> str:
        """Return what the edge sends as X-Lab-Secret to this attempt and nobody else knows."""
        return hmac.new(self.edge_key, f"{lab_id}:{attempt}".encode(), hashlib.sha256).hexdigest()


def choose_runtime(runtimes: Runtimes, offered: Sequence[Runtime], *, gpus: int = 0) -> Runtime | None:
    """Return the first runtime of the version that the site offers; with GPUs a container, which alone is given devices."""
    order = sorted(runtimes.order, key=lambda one: one is not Runtime.CONTAINER) if gpus else runtimes.order
    return next((runtime for runtime in order if runtime in offered), None)


def launch_span_id(lab_id: str, attempt: int) -> str:
    """Return the id of the span that covers a launch; the same however often it is made."""
    return telemetry.deterministic_span_id("launch", lab_id, attempt)


def launch_traceparent(record: LabRecord) -> str | None:
    """Return the trace context under which everything of this launch happens."""
    if record.traceparent is None or record.trace_id is None:
        return None
    flags = record.traceparent.rsplit("-", 1)[1]
    return f"00-{record.trace_id}-{launch_span_id(record.id, record.attempt)}-{flags}"


def token_mount(mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that takes the lab's token file: its scratch."""
    return next((mount for mount in mounts if mount.target == SCRATCH and not mount.read_only), None)


def environment(record: LabRecord, mounts: Sequence[Mount], *, port: int, site: Site) -> dict[str, str]:
    """Return the variables that every lab gets (DESIGN section 10); ESA Datalabs' older names stand last."""
    variables = {
        "DATALABS_LAB_ID": record.id,
        "DATALABS_PORT": str(port),
        "DATALABS_API_URL": f"{site.api_url}/api/v1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{site.api_url}/api/v1/telemetry",
    }
    if token_mount(mounts) is not None:
        variables["DATALABS_TOKEN_FILE"] = posixpath.join(SCRATCH, TOKEN_NAME)
    traceparent = launch_traceparent(record)
    if traceparent:
        variables["TRACEPARENT"] = traceparent
    return {**variables, "IF_main_port": str(port), "DATALAB_ID": record.id}


def fields_of(record: LabRecord, *, port: int, address: str, site: Site) -> Fields:
    """Return the fields of commands and paths as they are inside the lab."""
    return Fields(
        port=port,
        address=address,
        lab_id=record.id,
        home=HOME,
        scratch=SCRATCH,
        data=DATA,
        source=record.specification.source,
        origin=site.origin(record.id),
        parameters=record.parameters,
    )


def open_path(record: LabRecord, *, site: Site) -> str:
    """Return the path at which the browser enters; it begins with one slash.

    A desktop speaks RFB and has no page of its own: the gateway's is entered unless the datalab names another.
    """
    if record.kind is Kind.DESKTOP and record.specification.open_path == "/":
        return DESKTOP_PAGE
    fields = fields_of(record, port=record.port or 0, address=record.host or "", site=site)
    return "/" + fill(record.specification.open_path, fields).lstrip("/")


def job_of(record: LabRecord, volumes: PreparedVolumes, *, port: int, site: Site) -> LabJob:
    """Return the job of the record's attempt."""
    specification = record.specification
    runtimes = specification.runtimes
    return LabJob(
        job_id=job_id_of(record.id, record.attempt),
        lab_id=record.id,
        attempt=record.attempt,
        owner=record.owner,
        uid=record.owner_uid,
        datalab=record.datalab,
        version=record.version,
        kind=record.kind,
        runtime=record.runtime or runtimes.order[0],
        process=runtimes.process,
        container=runtimes.container,
        vm=runtimes.vm,
        source=specification.source,
        cores=record.cores,
        memory_mib=record.memory_mib,
        disk_mib=record.disk_mib,
        gpus=record.gpus,
        gpu_name=record.gpu_name,
        node_class=record.node_class,
        node=record.place.partition("/")[2] if record.place else None,
        port=port,
        ready_path=specification.ready_path,
        ready_secret=specification.ready_secret,
        batch=record.batch,
        activity=specification.activity,
        mounts=tuple(volumes.mounts),
        account=volumes.account,
        environment=environment(record, volumes.mounts, port=port, site=site),
        lab_secret=site.lab_secret(record.id, record.attempt),
        parameters=dict(record.parameters),
        origin=site.origin(record.id),
        stop_seconds=specification.stop_seconds,
    )
