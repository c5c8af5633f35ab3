"""What Prometheus hears of launches and ends; names without ids, so that they stay few."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from datalabs_contracts.labs import Reason
from datalabs_launcher.timeline import TOTAL

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)

PHASE_SECONDS = Histogram(
    "datalabs_launch_phase_seconds", "Time to ready, by phase.", ["phase"], buckets=SECONDS
)
LAUNCH_SECONDS = Histogram(
    "datalabs_launch_seconds", "From the request to ready.", ["datalab"], buckets=SECONDS
)
ENDED = Counter("datalabs_labs_ended_total", "Labs that ended, by reason.", ["reason"])
QUEUED = Gauge("datalabs_labs_queued", "Labs that wait for capacity.")


def launched(datalab: str, seconds: Mapping[str, float]) -> None:
    """Count a launch that became ready."""
    for phase, lasted in seconds.items():
        if phase != TOTAL:
            PHASE_SECONDS.labels(phase).observe(lasted)
    LAUNCH_SECONDS.labels(datalab).observe(seconds[TOTAL])


def ended(reason: Reason) -> None:
    """Count an end."""
    ENDED.labels(reason.value).inc()
