"""What a container lab finds inside, whichever scheduler runs it: its places, its variables and the fields of its command."""

from datalabs_launcher.commands import Fields
from datalabs_launcher.placement import DATA, HOME, SCRATCH
from datalabs_launcher.scheduler import LabJob

SOURCE = "/run/datalabs/source"
"""Where the entry's own files are in the lab."""
PRIVATE = "/run/lab"
PACKAGES = ".datalabs/packages"
SMALLEST_TMP_MIB = 64


def packages_folder(job: LabJob) -> str:
    """Return where packages lie that this person adds to this version."""
    return f"{HOME}/{PACKAGES}/{job.datalab}-{job.version}"


def fields_within(job: LabJob, *, port: int, address: str) -> Fields:
    """Return the values for the command of a lab that listens there."""
    return Fields(
        port=port,
        address=address,
        lab_id=job.lab_id,
        home=HOME,
        scratch=SCRATCH,
        data=DATA,
        source=SOURCE,
        origin=job.origin,
        packages=packages_folder(job),
        parameters=job.parameters,
    )


def variables_of(job: LabJob, *, address: str) -> dict[str, str]:
    """Return the variables that every container lab has, before those of its entry and of its launch."""
    return {
        "HOME": HOME,
        "USER": job.owner,
        "LOGNAME": job.owner,
        "DATALABS_USER": job.owner,
        "DATALABS_ADDRESS": address,
        "DATALABS_PACKAGES": packages_folder(job),
        "XDG_RUNTIME_DIR": PRIVATE,
        "JUPYTER_RUNTIME_DIR": f"{PRIVATE}/jupyter",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def temporary_mib(job: LabJob) -> int:
    """Return the room of the temporary folder of a lab whose image is read-only."""
    return max(SMALLEST_TMP_MIB, job.memory_mib // 4)
