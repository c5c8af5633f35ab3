"""The task of a process lab, for Nomad's raw_exec driver: outside any container, so only where the operator allows it."""

from datalabs_launcher.commands import Fields, fill_command, fill_environment
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.tasks import MAIN, Task, literal, nanoseconds, resources_of
from datalabs_launcher.placement import DATA, HOME, SCRATCH, TOKEN_NAME
from datalabs_launcher.scheduler import LabJob

ADDRESS = "${NOMAD_IP_lab}"
"""The address of the node on which the lab's port is reserved; Nomad puts it in."""


def task_of(job: LabJob, settings: NomadSettings) -> Task:
    """Return the process; raises ValueError when the job or the site has no environment for it."""
    if job.process is None:
        raise ValueError("a process lab without a process runtime")
    if settings.nomad_environments is None:
        raise ValueError("the cluster has no environments of process labs (launcher.nomad_environments)")
    folder = settings.nomad_environments / f"{job.datalab}-{job.version}"
    sources = {mount.target: mount.source for mount in job.mounts}
    address = "127.0.0.1" if job.batch else ADDRESS
    fields = Fields(
        port=job.port,
        address=address,
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
    # only our own reference to the node's address is for Nomad to fill in
    program, *arguments = (
        literal(one).replace(literal(ADDRESS), ADDRESS) for one in fill_command(job.process.command, fields)
    )
    environment = {
        "PATH": f"{folder}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": sources.get(HOME, "/"),
        "USER": job.owner,
        "DATALABS_USER": job.owner,
        "DATALABS_ADDRESS": address,
        "LANG": "C.UTF-8",
        **fill_environment(job.process.environment, fields),
        **job.environment,
    }
    if SCRATCH in sources and "DATALABS_TOKEN_FILE" in environment:
        environment["DATALABS_TOKEN_FILE"] = f"{sources[SCRATCH]}/{TOKEN_NAME}"
    return {
        "Name": MAIN,
        "Driver": "raw_exec",
        "Leader": True,
        "Config": {"command": program, "args": arguments},
        "Env": environment,
        "Resources": resources_of(job, settings),
        "KillTimeout": nanoseconds(job.stop_seconds),
        "KillSignal": "SIGTERM",
    }
