"""What can go wrong on one machine, as the operator meets it: one line, a stable code and an exit status of its own."""


class StandaloneError(Exception):
    """An expected failure: `code` is stable, `exit_status` is what the command ends with."""

    code: str = "failed"
    exit_status: int = 1

    def line(self) -> str:
        """Return the one line that is shown."""
        return f"datalabs: {self.code}: {self}"


class RelayedError(StandaloneError):
    """A failure that another process of the platform met and told; it keeps its code."""

    def __init__(self, text: str, *, code: str, exit_status: int) -> None:
        super().__init__(text)
        self.code = code
        self.exit_status = exit_status


class NotRunningError(StandaloneError):
    """No supervisor holds this state folder."""

    code = "not_running"
    exit_status = 3  # what `systemctl status` and LSB scripts return for a stopped program


class PortTakenError(StandaloneError):
    """Another program listens where the platform should."""

    code = "port_taken"
    exit_status = 10


class StateReadOnlyError(StandaloneError):
    """The state folder cannot be written."""

    code = "state_read_only"
    exit_status = 11


class DiskFullError(StandaloneError):
    """Too little space is left on the state folder's disk."""

    code = "disk_full"
    exit_status = 12


class MissingProgramError(StandaloneError):
    """A wheel or a program that the platform needs is not installed."""

    code = "missing_program"
    exit_status = 13


class NewerLayoutError(StandaloneError):
    """The state folder was written by a newer version of the platform."""

    code = "newer_layout"
    exit_status = 14


class PathTooLongError(StandaloneError):
    """The state folder's path leaves no room for the Unix sockets in it."""

    code = "path_too_long"
    exit_status = 15


class StateUnusableError(StandaloneError):
    """The path is a file, somebody else's folder, or a folder with other things in it."""

    code = "state_unusable"
    exit_status = 16


class SettingsError(StandaloneError):
    """`datalabs.toml` or an option cannot be read."""

    code = "bad_settings"
    exit_status = 18


class StartFailedError(StandaloneError):
    """A part that the others need could not be started, or the databases could not be prepared."""

    code = "start_failed"
    exit_status = 19


class PartFailingError(StandaloneError):
    """A part dies at once, again and again; the others live."""

    code = "part_failing"
    exit_status = 20


class StartTimeoutError(StandaloneError):
    """The platform was not ready in time; it goes on starting in the background."""

    code = "start_timeout"
    exit_status = 21


class UnknownPartError(StandaloneError):
    """There is no part of that name."""

    code = "unknown_part"
    exit_status = 22
