"""What can happen to whom, when: every combination that makes sense, and a selection that has every pair once.

Pure. A cell is (who, how, when); a life is one lab from its launch to its end, with one cell in each of its acts.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from datalabs_launcher.crash_points import POINTS

SERVICES = ("auth", "catalogue", "storage", "launcher", "accounting", "gateway", "observer")
SCHEDULER = "scheduler"
"""The agent of a cluster; the local adapter is part of the launcher."""
PARTS = (*SERVICES, "nats", "postgres", "envoy", SCHEDULER, "lab")
AT_RANDOM = "at random"
LAUNCH_POINTS = POINTS[: POINTS.index("stop_stored")]
END_POINTS = POINTS[POINTS.index("stop_stored") :]


class How(StrEnum):
    """What is done to a part."""

    KILLED = "SIGKILL"
    STOPPED = "SIGSTOP 15 s"
    CUT = "connection cut"
    REPLY_LOST = "reply lost"
    REPLY_LATE = "reply delayed past its deadline"
    EVENT_DOUBLED = "event doubled"
    EVENT_LATE = "event late"


class Act(StrEnum):
    """The part of a life in which a cell happens."""

    LAUNCH = "launch"
    END = "end"


@dataclass(frozen=True, order=True)
class Cell:
    """One harm: `when` is a crash point or a random instant of its act."""

    who: str
    how: How
    when: str
    act: Act

    def __str__(self) -> str:
        return (
            f"{self.who}, {self.how}, {self.when if self.when != AT_RANDOM else f'{AT_RANDOM} ({self.act})'}"
        )


REPLIES = {"auth", "catalogue", "storage", "launcher", "accounting", "observer"}
"""Who answers requests over NATS; the gateway only asks."""
HEARS = {"auth", "catalogue", "storage", "launcher", "accounting", "gateway", "observer"}
"""Who follows events."""


def possible(who: str, *, cluster: bool) -> list[How]:
    """Return what can be done to a part.

    `scheduler` is the cluster's agent: without a cluster it is no process of its own. Envoy's and a lab's connections
    are cut with them. Facts and replies come from services; a cluster's agent can lose, hold and double its own too.
    """
    hows = [How.KILLED, How.STOPPED]
    if who == SCHEDULER:
        return list(How) if cluster else []
    if who in {*SERVICES, "nats", "postgres"}:
        hows.append(How.CUT)
    if who in REPLIES:
        hows += [How.REPLY_LOST, How.REPLY_LATE]
    if who in HEARS:
        hows += [How.EVENT_DOUBLED, How.EVENT_LATE]
    return hows


def every_cell(*, cluster: bool = False) -> list[Cell]:
    """Return the whole matrix."""
    found: list[Cell] = []
    for who in PARTS:
        for how in possible(who, cluster=cluster):
            found += [Cell(who, how, when, Act.LAUNCH) for when in (*LAUNCH_POINTS, AT_RANDOM)]
            found += [Cell(who, how, when, Act.END) for when in (*END_POINTS, AT_RANDOM)]
    return [cell for cell in found if _makes_sense(cell)]


def _makes_sense(cell: Cell) -> bool:
    """A lab can only be harmed while it runs."""
    if cell.who != "lab":
        return True
    runs = (*LAUNCH_POINTS[LAUNCH_POINTS.index("running_stored") :], "stop_stored")
    return cell.when in runs or (cell.when == AT_RANDOM and cell.act is Act.END)


_SECONDS = {How.STOPPED: 4.0}
"""How much longer than the others a harm takes, roughly."""


def pairwise(cells: Sequence[Cell], seed: int) -> list[Cell]:
    """Return a small selection in which every pair (who, how), (who, when), (how, when) of `cells` occurs.

    Greedy all-pairs: each step takes the cell with most pairs that are still missing for its time; ties are broken by
    the seed.
    """
    shuffled = list(cells)
    random.Random(seed).shuffle(shuffled)
    missing = set(itertools.chain.from_iterable(_pairs(cell) for cell in cells))
    chosen: list[Cell] = []
    while missing:
        best = max(shuffled, key=lambda cell: len(_pairs(cell) & missing) / _SECONDS.get(cell.how, 1.0))
        chosen.append(best)
        missing -= _pairs(best)
    return chosen


def selected(seed: int, *, full: bool) -> list[Cell]:
    """Return what a run tries: all of it, or a selection; those whose `who` is the scheduler need a cluster."""
    cells = every_cell(cluster=True)
    return cells if full else pairwise(cells, seed)


def _pairs(cell: Cell) -> set[tuple[str, str, str]]:
    when = f"{cell.act}:{cell.when}"
    return {("who-how", cell.who, cell.how), ("who-when", cell.who, when), ("how-when", cell.how, when)}


@dataclass(frozen=True)
class Life:
    """One lab's life and what happens to it."""

    number: int
    launch: Cell | None
    end: Cell | None

    def __str__(self) -> str:
        return f"{self.number:03} " + " + ".join(str(cell) for cell in (self.launch, self.end) if cell)

    @property
    def cells(self) -> list[Cell]:
        """Its harms in their order."""
        return [cell for cell in (self.launch, self.end) if cell]


def lives(cells: Sequence[Cell], seed: int) -> list[Life]:
    """Return the cells as lives: two harms to a life where there is one for each act."""
    drawn = random.Random(seed + 1)
    launches = [cell for cell in cells if cell.act is Act.LAUNCH]
    ends = [cell for cell in cells if cell.act is Act.END]
    drawn.shuffle(launches)
    drawn.shuffle(ends)
    pairs = itertools.zip_longest(launches, ends)
    return [Life(number, launch, end) for number, (launch, end) in enumerate(pairs, start=1)]
