"""When a part that died is started again, and when it counts as failing."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """Seconds before the first, second, … restart in a row; the last repeats.

    A part that lived `steady_seconds` begins anew. One that died `failing_after` times in a row without living that
    long is failing: it is tried on, slowly, and named.
    """

    delays: tuple[float, ...] = (0.05, 0.25, 1.0, 2.0, 5.0, 10.0, 30.0)
    steady_seconds: float = 20.0
    failing_after: int = 4


DATABASE_POLICY = RestartPolicy(
    delays=(0.05, 0.1, 0.1, 0.2, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0), failing_after=8
)
"""A killed PostgreSQL sometimes answers "another postmaster running" until its last child is gone: try quickly."""


@dataclass(kw_only=True)
class Restarts:
    """The restarts of one part."""

    policy: RestartPolicy = field(default_factory=RestartPolicy)
    in_a_row: int = 0

    def after(self, lived: float) -> float:
        """Count a death after `lived` seconds; return for how many seconds to wait before the next start."""
        if lived >= self.policy.steady_seconds:
            self.in_a_row = 0
        self.in_a_row += 1
        delays = self.policy.delays
        return delays[min(self.in_a_row, len(delays)) - 1]

    @property
    def failing(self) -> bool:
        """Whether it dies again and again."""
        return self.in_a_row >= self.policy.failing_after
