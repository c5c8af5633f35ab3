"""Refusals of the observer, each with its stable code."""

from datalabs_contracts.problems import ProblemCode, ProblemError


class OperatorsOnlyError(ProblemError):
    """Only operators see the platform's inner life."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.FORBIDDEN, "Only operators see this.")


class UnknownTraceError(ProblemError):
    """No span of this trace is stored: it never came, or is past its retention."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.NOT_FOUND, "No span of this trace is stored (any more).")


class UnknownDeadLetterError(ProblemError):
    """No dead letter has this id."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.NOT_FOUND, "There is no such dead letter (any more).")


class UnreadableTelemetryError(ValueError):
    """A body that is not OTLP; the text says what is wrong with it."""


class BodyTooLargeError(ValueError):
    """A body that unpacks to more than is taken."""
