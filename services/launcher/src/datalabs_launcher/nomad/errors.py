"""What can be wrong with an answer of Nomad's."""

from datalabs_launcher.scheduler import SchedulerAwayError


class NomadDeniedError(SchedulerAwayError):
    """The token does not do: for labs it is as if nobody answered, for the operator it is not."""


class NomadRejectedError(Exception):
    """Nomad read the request and does not take it; the text is Nomad's own."""


class JobExistsError(NomadRejectedError):
    """A job of that id is there already."""
