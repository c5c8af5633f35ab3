"""Plain facts for tests that need some."""

from datetime import UTC, datetime
from typing import Any

from datalabs_contracts.datalabs import Kind
from datalabs_contracts.labs import Lab, LabFact, LabState

MOMENT = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def lab(lab_id: str = "k3v9x2mmpq", *, revision: int = 1, owner: str = "ada", **changes: Any) -> Lab:
    """Return a lab, ready unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "id": lab_id,
        "name": "Sunspots",
        "owner": owner,
        "datalab": "jupyterlab",
        "version": "4.6",
        "kind": Kind.NOTEBOOK,
        "size": "small",
        "state": LabState.READY,
        "attempt": 1,
        "revision": revision,
        "created_at": MOMENT,
        **changes,
    }
    return Lab(**values)


def lab_fact(lab_id: str = "k3v9x2mmpq", *, revision: int = 1, owner: str = "ada", **changes: Any) -> LabFact:
    """Return the fact that such a lab's events carry."""
    return LabFact(
        lab=lab(lab_id, revision=revision, owner=owner, **changes),
        revision=revision,
        owner=owner,
        actor=owner,
    )
