"""What the gateway's own domain raises beside `ProblemError`."""


class CodeUnusableError(Exception):
    """An entry code that is unknown, used or too old."""


class NoEntryError(Exception):
    """A request on a lab's origin without a lab session that still holds."""


class LabClosedError(Exception):
    """A lab that nobody can enter now: not ready yet, or ended; `lab_id` leads to its page."""

    def __init__(self, lab_id: str, *, ended: bool) -> None:
        super().__init__(lab_id)
        self.lab_id = lab_id
        self.ended = ended


class SessionGoneError(Exception):
    """A session that has ended or never was."""
