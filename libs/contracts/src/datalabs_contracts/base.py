"""What all contract models share."""

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, SecretStr


class Contract(BaseModel):
    """A message that crosses a service border: immutable; unknown fields are ignored by its readers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Body(BaseModel):
    """A request body of the public interface: an unknown field is an error, so that a typing slip is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A moment: aware, in UTC."""


def _revealed(value: SecretStr) -> str:
    return value.get_secret_value()


WireSecret = Annotated[SecretStr, PlainSerializer(_revealed, return_type=str, when_used="json")]
"""A secret that one service sends to another: masked in logs and `repr`, itself in JSON."""

ItemT = TypeVar("ItemT")


class Page(Contract, Generic[ItemT]):
    """One page of a list; `next` is the cursor of the following one, absent on the last."""

    items: list[ItemT]
    next: str | None = None


class PageQuery(Contract):
    """Which page: an opaque cursor from the page before and how many items at most."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class Nothing(Contract):
    """An empty request or reply."""
