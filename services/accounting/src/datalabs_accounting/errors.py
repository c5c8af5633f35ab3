"""Refusals of accounting, each with its stable code."""

from datalabs_contracts.labs import Amounts
from datalabs_contracts.problems import ProblemCode, ProblemError


class QuotaExceededError(ProblemError):
    """The reservation does not fit into the owner's limits; `extra` says what is used, asked and allowed."""

    def __init__(
        self, detail: str, *, resource: str, used: Amounts, asked: Amounts, limit: dict[str, float | None]
    ) -> None:
        super().__init__(
            ProblemCode.QUOTA_EXCEEDED,
            detail,
            resource=resource,
            used=used.model_dump(),
            asked=asked.model_dump(),
            limit=limit,
        )


class OperatorsOnlyError(ProblemError):
    """The caller is no operator."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.FORBIDDEN, "Only operators may do this.")


class NobodysUsageError(ProblemError):
    """The caller may not see this person's usage, or there is no such person: the answers are the same."""

    def __init__(self) -> None:
        super().__init__(ProblemCode.NOT_FOUND)
