"""Query and header parameters that several routes take."""

from typing import Annotated

from fastapi import Header, Query

Limit = Annotated[int, Query(ge=1, le=200, description="How many items at most.")]
Cursor = Annotated[
    str | None, Query(max_length=1000, description="`next` of the page before; opaque.", examples=["bS4x"])
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="A repeat with the same key and body gets the same answer; with another body 422.",
        examples=["0f8c9d6e-3f52-4a5e-9c1b-6b7f0f1d2a3b"],
    ),
]
Attempt = Annotated[int | None, Query(ge=1, le=99, description="Which attempt; the newest by default.")]
