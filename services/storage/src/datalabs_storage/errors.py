"""What storage refuses, and what can go wrong beneath it."""

from datalabs_contracts.problems import ProblemCode, ProblemError


class VolumeUnavailableError(ProblemError):
    """A volume or collection cannot be mounted; asking again at once will not help."""

    def __init__(self, detail: str) -> None:
        super().__init__(ProblemCode.VOLUME_UNAVAILABLE, detail)


class NotYetError(ProblemError):
    """A collection is on its way: whoever waits a little and asks again gets it."""

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(ProblemCode.SERVICE_UNAVAILABLE, detail, retry_after=retry_after)


class UnknownCollectionError(ProblemError):
    """No description of such a collection exists."""

    def __init__(self, name: str) -> None:
        super().__init__(ProblemCode.UNKNOWN_COLLECTION, f"There is no collection {name!r}.", collection=name)


class DiskFullError(ProblemError):
    """The disk has less room than the operator wants kept free."""

    def __init__(self, *, free_mib: int, minimum_mib: int) -> None:
        super().__init__(
            ProblemCode.DISK_FULL,
            f"Only {free_mib} MiB of the platform's disk are free; {minimum_mib} MiB must stay so.",
            free_mib=free_mib,
            minimum_mib=minimum_mib,
        )


class InstallationError(Exception):
    """A collection could not be installed; the text is one sentence for operators and users."""


class PackageError(InstallationError):
    """A package could not be had from where this machine gets its packages."""


class StrangeFolderError(Exception):
    """What lies at the place of a folder is not what storage would have made there."""
