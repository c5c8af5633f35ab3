"""When may a waiting lab get its turn? Played forward from who runs, how long such labs usually run, and who is first.

Pure and a guess: it says nothing (None) rather than something that past runs do not tell.
"""

import heapq
import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from datalabs_launcher.models import Amount, Held, Waiting
from datalabs_launcher.nodes import Machine, need_of

LOOKED_AT = 200
"""So many of the queue are played; those behind them are told no time."""
MOST_ENDS = 1000
LEAST = timedelta(seconds=30)
OVERDUE = 0.25
"""A lab that runs longer than usual is given a quarter of the usual time from now on."""

RunTimes = Mapping[tuple[str, str, str], float]
"""Usual seconds of a run by datalab, version and size."""


def ends_at(lab: Held, now: datetime, usual: RunTimes) -> datetime | None:
    """Return when a running lab may end; None when nothing tells."""
    seconds = usual.get(lab.kind_of_run)
    guess = None
    if seconds is not None:
        begun = lab.started_at or now
        guess = begun + timedelta(seconds=seconds)
        if guess <= now:
            guess = now + max(LEAST, timedelta(seconds=seconds * OVERDUE))
    if lab.expires_at is not None:
        guess = min(guess, lab.expires_at) if guess is not None else lab.expires_at
    return max(guess, now + LEAST) if guess is not None else None


def expected(
    ordered: Sequence[Waiting],
    machines: Sequence[Machine],
    running: Sequence[tuple[str, Held]],
    *,
    now: datetime,
    usual: RunTimes,
) -> dict[str, datetime]:
    """Return when each of the first waiting labs may start; `running` names each lab's machine. Changes `machines`."""
    by_key = {machine.key: machine for machine in machines if machine.takes}
    number = itertools.count()
    ends: list[tuple[datetime, int, str, Amount]] = [
        (moment, next(number), key, lab.need)
        for key, lab in running
        if key in by_key and (moment := ends_at(lab, now, usual)) is not None
    ]
    heapq.heapify(ends)
    left = list(ordered[:LOOKED_AT])
    found: dict[str, datetime] = {}
    for _ in range(MOST_ENDS):
        if not ends or not left:
            break
        moment, _, key, freed = heapq.heappop(ends)
        machine = by_key[key]
        machine.take_back(freed)
        waiting: list[Waiting] = []
        for lab in left:
            need = need_of(lab)
            if not (machine.has_free(need) and machine.suits(lab.runtime, lab.node_class)):
                waiting.append(lab)
                continue
            machine.give(need)
            found[lab.lab_id] = moment
            seconds = usual.get(lab.kind_of_run)
            if seconds is not None:
                end = moment + max(LEAST, timedelta(seconds=seconds))
                heapq.heappush(ends, (end, next(number), key, need))
        left = waiting
    return found
