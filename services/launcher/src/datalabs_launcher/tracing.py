"""The launch in the trace: spans made from stored transitions, the same ids however often they are sent."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from datalabs_contracts.events import HEADER_TRACEPARENT
from datalabs_contracts.labs import Reason
from datalabs_launcher.models import AttemptRecord, LabRecord, Moment, trace_id_of
from datalabs_launcher.placement import launch_span_id, launch_traceparent
from datalabs_launcher.timeline import Phase, phases_of, steps_within
from datalabs_runtime import telemetry


@contextlib.contextmanager
def in_trace_of(record: LabRecord) -> Iterator[None]:
    """Do what follows in the trace of the lab's launch, as children of its launch span."""
    traceparent = launch_traceparent(record)
    if traceparent is None:
        yield
        return
    with telemetry.continued({HEADER_TRACEPARENT: traceparent}):
        yield


def send_spans(
    attempt: AttemptRecord, moments: Sequence[Moment], *, datalab: str, reason: Reason | None = None
) -> bool:
    """Send the spans of a launch that is over: one for the whole, one a phase, one a step of the scheduler.

    Returns whether there was anything to send.
    """
    trace_id = trace_id_of(attempt.traceparent)
    phases = phases_of(moments)
    end = attempt.ready_at or attempt.ended_at
    if trace_id is None or attempt.traceparent is None or not phases or end is None:
        return False
    if attempt.traceparent.endswith("-00"):  # the click's trace is not recorded
        return False
    words = (attempt.lab_id, attempt.attempt)
    root = launch_span_id(*words)
    attributes: dict[str, str | int | float | bool] = {
        "datalabs.lab.id": attempt.lab_id,
        "datalabs.lab.attempt": attempt.attempt,
        "datalabs.datalab": datalab,
    }
    failed = attempt.ready_at is None
    telemetry.span_at(
        "launch",
        phases[0].started_at,
        max(end, phases[0].started_at),
        trace_id,
        root,
        attempt.traceparent.split("-")[2],
        attributes,
        error=str(reason or "not ready") if failed else None,
    )
    steps = steps_within(phases, attempt)
    for number, phase in enumerate(phases):
        span_id = telemetry.deterministic_span_id("phase", *words, phase.name, number)
        telemetry.span_at(f"launch {phase.name}", *_times(phase, end), trace_id, span_id, root, attributes)
        for index, step in enumerate(steps.get(phase.name, ())):
            telemetry.span_at(
                f"scheduler {step.name}",
                step.started_at,
                step.ended_at or max(end, step.started_at),
                trace_id,
                telemetry.deterministic_span_id("step", *words, step.name, index),
                span_id,
                attributes,
            )
    return True


def _times(phase: Phase, end: datetime) -> tuple[datetime, datetime]:
    return phase.started_at, max(phase.ended_at or end, phase.started_at)
