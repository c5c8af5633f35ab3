"""The timeline of a launch, made of its stored transitions alone: pure."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datalabs_contracts.labs import LabState, Timeline, TimelinePhase
from datalabs_launcher.models import PHASE_TEXTS, PROBING, STARTING, AttemptRecord, Moment
from datalabs_launcher.scheduler import Step

LAUNCHING = {LabState.QUEUED, LabState.PREPARING, LabState.STARTING}
ENDING = {"stopping", "ended"}
"""The scheduler's steps of an end."""
TOTAL = "total"
"""Name under which the seconds of a whole launch stand beside those of its phases."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase; `ended_at` is missing while it runs."""

    name: str
    started_at: datetime
    ended_at: datetime | None
    text: str = ""


def phases_of(moments: Sequence[Moment]) -> list[Phase]:
    """Return the phases of a launch: each begins where the one before ends, so together they are the whole.

    What comes after ready, or after the launch was given up, is no phase of it. A step that a crash made the launcher
    repeat continues its phase. Times that run backwards (another machine's clock) are held at the latest seen.
    """
    phases: list[Phase] = []
    latest: datetime | None = None
    for moment in moments:
        at = moment.at if latest is None else max(moment.at, latest)
        latest = at
        launching = moment.state in LAUNCHING
        if launching and phases and phases[-1].name == moment.phase:
            continue
        if phases and phases[-1].ended_at is None:
            phases[-1] = Phase(
                name=phases[-1].name, started_at=phases[-1].started_at, ended_at=at, text=phases[-1].text
            )
        if not launching:
            break
        text = moment.text or PHASE_TEXTS.get(moment.phase, "")
        phases.append(Phase(name=moment.phase, started_at=at, ended_at=None, text=text))
    return phases


def steps_of(documents: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Return the scheduler's steps from their stored form."""
    return [
        Step(
            name=item["name"],
            started_at=datetime.fromisoformat(item["started_at"]),
            ended_at=datetime.fromisoformat(item["ended_at"]) if item.get("ended_at") else None,
            text=item.get("text", ""),
        )
        for item in documents
    ]


def step_documents(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the scheduler's steps as they are stored."""
    return [
        {
            "name": step.name,
            "started_at": step.started_at.isoformat(),
            "ended_at": step.ended_at.isoformat() if step.ended_at else None,
            "text": step.text,
        }
        for step in steps
    ]


def durations(phases: Sequence[Phase]) -> dict[str, float]:
    """Return the seconds of each finished phase, and of all."""
    seconds: dict[str, float] = {}
    for phase in phases:
        if phase.ended_at is not None:
            lasted = (phase.ended_at - phase.started_at).total_seconds()
            seconds[phase.name] = seconds.get(phase.name, 0.0) + lasted
    seconds[TOTAL] = sum(seconds.values())
    return seconds


def usual(recent: Sequence[Mapping[str, float]], *, without: Collection[str] = ()) -> dict[str, float]:
    """Return the median seconds of each phase, and of the whole, of recent launches; as if they had lacked some phases."""
    recent = [_lacking(launch, without) for launch in recent]
    names = {name for launch in recent for name in launch}
    return {
        name: round(statistics.median(launch.get(name, 0.0) for launch in recent), 3)
        for name in sorted(names)
    }


def _lacking(launch: Mapping[str, float], phases: Collection[str]) -> dict[str, float]:
    """Return a launch as it would have been without these phases."""
    spared = sum(launch.get(name, 0.0) for name in phases)
    kept = {name: seconds for name, seconds in launch.items() if name not in phases}
    return {**kept, TOTAL: max(0.0, launch[TOTAL] - spared)} if TOTAL in launch else kept


def timeline_of(
    attempt: AttemptRecord,
    moments: Sequence[Moment],
    *,
    now: datetime,
    recent: Sequence[Mapping[str, float]] = (),
) -> Timeline:
    """Return the timeline of an attempt; `seconds` runs from the request to ready, or to now or the end."""
    phases = phases_of(moments)
    steps = steps_within(phases, attempt)
    until = attempt.ready_at or attempt.ended_at or now
    expected = usual(recent)
    expected.pop(TOTAL, None)
    return Timeline(
        lab_id=attempt.lab_id,
        attempt=attempt.attempt,
        trace_id=(attempt.traceparent or "").split("-")[1] if attempt.traceparent else None,
        seconds=max(0.0, (until - attempt.requested_at).total_seconds()),
        phases=[_contract(phase, now, steps.get(phase.name, ())) for phase in phases],
        usual=expected,
    )


def steps_within(phases: Sequence[Phase], attempt: AttemptRecord) -> dict[str, list[Step]]:
    """Return what the scheduler did by the phase in which it began: to start the lab, or while that was asked already.

    How a lab that was ready ended is no part of its launch.
    """
    asked_at = next((phase.started_at for phase in phases if phase.name == PROBING), None)
    found: dict[str, list[Step]] = {STARTING: [], PROBING: []}
    for step in steps_of(attempt.steps):
        if attempt.ready_at is not None and step.name in ENDING:
            continue
        later = asked_at is not None and step.started_at >= asked_at and step.ended_at != step.started_at
        found[PROBING if later else STARTING].append(step)
    return found


def _contract(phase: Phase, now: datetime, steps: Sequence[Step]) -> TimelinePhase:
    until = phase.ended_at or max(now, phase.started_at)
    return TimelinePhase(
        name=phase.name,
        started_at=phase.started_at,
        ended_at=phase.ended_at,
        seconds=(until - phase.started_at).total_seconds(),
        text=phase.text,
        steps=[
            _contract(
                Phase(name=step.name, started_at=step.started_at, ended_at=step.ended_at, text=step.text),
                now,
                (),
            )
            for step in steps
        ],
    )
