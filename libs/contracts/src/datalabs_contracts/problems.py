"""Problem documents (RFC 9457) and the stable codes that they carry."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from datalabs_contracts.base import Contract

PROBLEM_MEDIA_TYPE = "application/problem+json"
PROBLEM_BASE = "https://open-datalabs.org/problems/"


class ProblemCode(StrEnum):
    """Every code a caller may meet. A code never changes its meaning; its status and title stand in `CATALOGUE`."""

    NOT_SIGNED_IN = "not_signed_in"
    SESSION_EXPIRED = "session_expired"
    WRONG_CREDENTIALS = "wrong_credentials"
    FORBIDDEN = "forbidden"
    FOREIGN_ORIGIN = "foreign_origin"
    NOT_FOUND = "not_found"
    UNKNOWN_DATALAB = "unknown_datalab"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_SIZE = "unknown_size"
    UNKNOWN_COLLECTION = "unknown_collection"
    INVALID_PARAMETERS = "invalid_parameters"
    INVALID_REQUEST = "invalid_request"
    INVALID_CURSOR = "invalid_cursor"
    BODY_TOO_LARGE = "body_too_large"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    QUOTA_EXCEEDED = "quota_exceeded"
    TOO_MANY_QUEUED = "too_many_queued"
    NEVER_FITS = "never_fits"
    RUNTIME_UNAVAILABLE = "runtime_unavailable"
    LAB_NOT_READY = "lab_not_ready"
    LAB_ENDED = "lab_ended"
    LAB_STILL_RUNNING = "lab_still_running"
    EXTENSION_TOO_LONG = "extension_too_long"
    USERNAME_TAKEN = "username_taken"
    WEAK_PASSWORD = "weak_password"  # noqa: S105 - a code, not a password
    RATE_LIMITED = "rate_limited"
    DISK_FULL = "disk_full"
    VOLUME_UNAVAILABLE = "volume_unavailable"
    CONFLICT = "conflict"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    SERVICE_UNAVAILABLE = "service_unavailable"
    INTERNAL_ERROR = "internal_error"


CATALOGUE: dict[ProblemCode, tuple[int, str]] = {
    ProblemCode.NOT_SIGNED_IN: (401, "Sign in first"),
    ProblemCode.SESSION_EXPIRED: (401, "Your session has ended; sign in again"),
    ProblemCode.WRONG_CREDENTIALS: (401, "Unknown user name or wrong password"),
    ProblemCode.FORBIDDEN: (403, "Your roles do not allow this"),
    ProblemCode.FOREIGN_ORIGIN: (403, "This request came from another site's page"),
    ProblemCode.NOT_FOUND: (404, "Nothing of yours is here"),
    ProblemCode.UNKNOWN_DATALAB: (404, "The catalogue has no such datalab"),
    ProblemCode.UNKNOWN_VERSION: (422, "This datalab has no such version"),
    ProblemCode.UNKNOWN_SIZE: (422, "There is no such size for this datalab"),
    ProblemCode.UNKNOWN_COLLECTION: (422, "There is no such collection"),
    ProblemCode.INVALID_PARAMETERS: (422, "The parameters do not fit this datalab"),
    ProblemCode.INVALID_REQUEST: (422, "The request is not of the expected form"),
    ProblemCode.INVALID_CURSOR: (422, "This cursor is not from a page of this list"),
    ProblemCode.BODY_TOO_LARGE: (413, "The request body is too large"),
    ProblemCode.METHOD_NOT_ALLOWED: (405, "This address does not take that method"),
    ProblemCode.IDEMPOTENCY_MISMATCH: (422, "This idempotency key was used for a different request"),
    ProblemCode.QUOTA_EXCEEDED: (409, "This launch would exceed your limits"),
    ProblemCode.TOO_MANY_QUEUED: (409, "Too many of your labs are waiting already"),
    ProblemCode.NEVER_FITS: (409, "No machine of this site can ever hold this size"),
    ProblemCode.RUNTIME_UNAVAILABLE: (409, "Nothing on this site can run this datalab"),
    ProblemCode.LAB_NOT_READY: (409, "The lab is not ready yet"),
    ProblemCode.LAB_ENDED: (409, "The lab has ended"),
    ProblemCode.LAB_STILL_RUNNING: (409, "The lab is still running"),
    ProblemCode.EXTENSION_TOO_LONG: (422, "The lab cannot be kept that long"),
    ProblemCode.USERNAME_TAKEN: (409, "This user name is taken"),
    ProblemCode.WEAK_PASSWORD: (422, "The password is too short"),
    ProblemCode.RATE_LIMITED: (429, "Too many requests; try again shortly"),
    ProblemCode.DISK_FULL: (507, "The platform's disk is almost full"),
    ProblemCode.VOLUME_UNAVAILABLE: (503, "A volume or collection of this lab cannot be mounted now"),
    ProblemCode.CONFLICT: (409, "The thing changed meanwhile"),
    ProblemCode.DEADLINE_EXCEEDED: (504, "The answer did not come in time"),
    ProblemCode.CANCELLED: (499, "The caller went away"),
    ProblemCode.SERVICE_UNAVAILABLE: (503, "A part of the platform is away; it comes back by itself"),
    ProblemCode.INTERNAL_ERROR: (500, "The platform made a mistake"),
}


class FieldProblem(Contract):
    """One field that is wrong: its JSON pointer and what is wrong with it."""

    pointer: str
    detail: str


class Problem(Contract):
    """An RFC 9457 problem document, the same from a service's RPC reply and from the public interface."""

    type: str = Field(examples=[PROBLEM_BASE + "quota_exceeded"])
    title: str
    status: int = Field(ge=400, le=599)
    code: ProblemCode
    detail: str = ""
    trace_id: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)
    retry_after: float | None = Field(default=None, description="Seconds after which a repeat may succeed.")
    extra: dict[str, Any] = Field(default_factory=dict, description="Facts of this code, such as limits.")


class ProblemError(Exception):
    """A refusal with a stable code; every layer may raise it, the border turns it into a problem document."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str = "",
        *,
        errors: list[FieldProblem] | None = None,
        retry_after: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail or CATALOGUE[code][1])
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.retry_after = retry_after
        self.extra = extra

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return CATALOGUE[self.code][0]

    def document(self, trace_id: str | None = None) -> Problem:
        """Return the problem document."""
        status, title = CATALOGUE[self.code]
        return Problem(
            type=PROBLEM_BASE + self.code,
            title=title,
            status=status,
            code=self.code,
            detail=self.detail,
            trace_id=trace_id,
            errors=self.errors,
            retry_after=self.retry_after,
            extra=self.extra,
        )

    @classmethod
    def from_document(cls, problem: Problem) -> "ProblemError":
        """Return the refusal that a problem document tells of."""
        return cls(
            problem.code,
            problem.detail,
            errors=problem.errors,
            retry_after=problem.retry_after,
            **problem.extra,
        )
