"""What the spans of one batch add to the rows of their traces. Pure."""

from collections.abc import Iterable

from datalabs_observer.models import KeptSpan, TracePart


def summarise(spans: Iterable[KeptSpan]) -> list[TracePart]:
    """Return what spans add to the rows of their traces, in the order of the traces' ids."""
    by_trace: dict[str, list[KeptSpan]] = {}
    for kept in spans:
        by_trace.setdefault(kept.span.trace_id, []).append(kept)
    return [_part(trace_id, by_trace[trace_id]) for trace_id in sorted(by_trace)]


def _part(trace_id: str, kept: list[KeptSpan]) -> TracePart:
    roots = [one for one in kept if one.span.parent_id is None]
    first = min(roots or kept, key=lambda one: (one.span.start_ns, one.span.span_id)).span
    return TracePart(
        trace_id=trace_id,
        name=first.name,
        service=first.service,
        rooted=bool(roots),
        start_ns=min(one.span.start_ns for one in kept),
        end_ns=max(one.span.end_ns for one in kept),
        spans=len(kept),
        errors=sum(one.span.status == "error" for one in kept),
        lab_id=next((one.lab_id for one in kept if one.lab_id), None),
        bytes=sum(one.bytes for one in kept),
    )
