"""The task of a process lab, for Nomad's raw_exec driver: outside any container, so only where the operator allows it."""

from datalabs_contracts.datalabs import ProcessRuntime
from datalabs_launcher.commands import Fields, fill_command, fill_environment
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.tasks import MAIN, Task, literal, nanoseconds, parted, resources_of
from datalabs_launcher.placement import DATA, HOME, SCRATCH, TOKEN_NAME
from datalabs_launcher.scheduler import LabJob

ADDRESS = "${NOMAD_IP_lab}"
"""The address of the node on which the lab's port is reserved; Nomad puts it in."""
HOLE = "\x00"
"""Where that address goes, until all that is not ours was made safe: no text of a command or variable holds it."""


def task_of(job: LabJob, settings: NomadSettings) -> Task:
    """Return the process; raises ValueError when the job or the site has no environment for it."""
    process, fields = _fields(job, settings)
    program, *arguments = (
        literal(one).replace(HOLE, ADDRESS) for one in fill_command(process.command, fields)
    )
    plain, _ = parted(environment_of(job, settings))
    return {
        "Name": MAIN,
        "Driver": "raw_exec",
        "Leader": True,
        "Config": {"command": program, "args": arguments},
        "Env": {name: value.replace(HOLE, ADDRESS) for name, value in plain.items()},
        "Resources": resources_of(job, settings),
        "KillTimeout": nanoseconds(job.stop_seconds),
        "KillSignal": "SIGTERM",
    }


def environment_of(job: LabJob, settings: NomadSettings) -> dict[str, str]:
    """Return all that the process is told by variables, with a hole where Nomad puts in the node's address.

    Raises `ValueError` for a variable that has both that address and words that Nomad would read as references.
    """
    process, fields = _fields(job, settings)
    environment = {
        "PATH": f"{fields.environment}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": fields.home or "/",
        "USER": job.owner,
        "DATALABS_USER": job.owner,
        "DATALABS_ADDRESS": fields.address,
        "LANG": "C.UTF-8",
        **fill_environment(process.environment, fields),
        **job.environment,
    }
    if fields.scratch and "DATALABS_TOKEN_FILE" in environment:
        environment["DATALABS_TOKEN_FILE"] = f"{fields.scratch}/{TOKEN_NAME}"
    for name, value in environment.items():
        if HOLE in value and "${" in value:
            raise ValueError(f"{name} has both the lab's address and `${{`, which Nomad cannot be told")
    return environment


def _fields(job: LabJob, settings: NomadSettings) -> tuple[ProcessRuntime, Fields]:
    if job.process is None:
        raise ValueError("a process lab without a process runtime")
    if settings.nomad_environments is None:
        raise ValueError("the cluster has no environments of process labs (launcher.nomad_environments)")
    folder = settings.nomad_environments / f"{job.datalab}-{job.version}"
    sources = {mount.target: mount.source for mount in job.mounts}
    fields = Fields(
        port=job.port,
        address="127.0.0.1" if job.batch else HOLE,
        lab_id=job.lab_id,
        home=sources.get(HOME, ""),
        scratch=sources.get(SCRATCH, ""),
        data=DATA,
        source=job.source,
        origin=job.origin,
        python=f"{folder}/bin/python",
        environment=str(folder),
        parameters=job.parameters,
    )
    return job.process, fields
