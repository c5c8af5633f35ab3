"""The typed Python client and the `datalabs` command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datalabs_client.client import Datalabs, LabEndedError, LaunchedLab

__all__ = ["Datalabs", "LabEndedError", "LaunchedLab"]


def __getattr__(name: str) -> Any:
    """Import the client when it is asked for: the command line starts faster without it."""
    if name not in __all__:
        raise AttributeError(name)
    from datalabs_client import client  # noqa: PLC0415 - see above

    return getattr(client, name)
