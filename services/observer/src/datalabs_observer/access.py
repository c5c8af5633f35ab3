"""Who may look: operators, and services for their own work."""

from datalabs_observer.errors import OperatorsOnlyError
from datalabs_runtime.identity import Identity


def check_operator(caller: Identity) -> None:
    """Raise `OperatorsOnlyError` unless the caller is an operator or a service."""
    if not (caller.is_operator or caller.service):
        raise OperatorsOnlyError
