"""Refusals of auth, each with its stable code."""

from datalabs_contracts.problems import ProblemCode, ProblemError


class WrongCredentialsError(ProblemError):
    """The user name is unknown or the password is wrong; which of them is not said."""

    def __init__(self, *, retry_after: float | None) -> None:
        super().__init__(ProblemCode.WRONG_CREDENTIALS, retry_after=retry_after)


class TooManyAttemptsError(ProblemError):
    """Sign-in waits after wrong passwords; seconds until the next attempt is looked at."""

    def __init__(self, *, retry_after: float) -> None:
        super().__init__(
            ProblemCode.RATE_LIMITED,
            f"Too many wrong passwords from here. Try again in {max(1, round(retry_after))} s.",
            retry_after=retry_after,
        )


class UnknownSessionError(ProblemError):
    """No session has this secret."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.NOT_SIGNED_IN)


class EndedSessionError(ProblemError):
    """The session was ended or has expired."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.SESSION_EXPIRED)


class UsernameTakenError(ProblemError):
    """Somebody has this user name."""

    def __init__(self, username: str) -> None:
        super().__init__(ProblemCode.USERNAME_TAKEN, f"The user name {username} is taken.")


class WeakPasswordError(ProblemError):
    """The password is too easy to guess."""

    def __init__(self, detail: str) -> None:
        super().__init__(ProblemCode.WEAK_PASSWORD, detail)


class OperatorsOnlyError(ProblemError):
    """Only operators may do this."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.FORBIDDEN, "Only operators manage accounts.")


class UnknownPersonError(ProblemError):
    """No account of this name that the caller may see."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.NOT_FOUND)


class NoUidLeftError(RuntimeError):
    """The range of uids in the settings is used up: an operator must widen it."""

    def __init__(self, last: int) -> None:
        super().__init__(f"no uid is left below uid_last = {last}; widen the range in [auth]")
