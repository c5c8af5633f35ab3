"""What can go wrong inside the launcher; a caller's mistakes are `ProblemError`s of contracts."""


class LauncherError(Exception):
    """Base of the launcher's own errors."""


class LabMovedError(LauncherError):
    """Somebody else changed the lab meanwhile: read it again, decide again."""


class NoAddressLeftError(LauncherError):
    """Every port of the ring is taken or rests."""
