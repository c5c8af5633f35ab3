"""Figures as a table for people and as JSON for machines."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.running import REPOSITORY


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


@dataclass
class Figures:
    """Rows of one benchmark: name, value, unit, what it is held against, and the goal."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, what: str, value: float, unit: str, *, beside: str = "", goal: str = "", met: bool | None = None
    ) -> None:
        self.rows.append(
            {"what": what, "value": value, "unit": unit, "beside": beside, "goal": goal, "met": met}
        )
        print(self._line(self.rows[-1]), flush=True)

    @staticmethod
    def _line(row: dict[str, Any]) -> str:
        verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
        return f"  {row['what']:<52} {row['value']:>12,.3f} {row['unit']:<6} {row['beside']:<34} {row['goal']:<26} {verdict}"

    def write(self) -> Path:
        """Write build/bench-<name>.json."""
        path = REPOSITORY / "build" / f"bench-{self.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"bench": self.name, "rows": self.rows}, indent=1) + "\n")
        print(f"  written to {path.relative_to(REPOSITORY)}", flush=True)
        return path


def seconds(values: Sequence[float]) -> str:
    """Return a short summary of durations."""
    return f"p95 {quantile(values, 0.95):.3f}, min {min(values):.3f}, n {len(values)}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
