"""The pace of starts: learnt from simulated machines that bear different crowds."""

import heapq

import pytest

from datalabs_launcher.nomad.pacing import FIRST_LIMIT, HELD_SECONDS, Paces


class Simulated:
    """A machine that starts so many labs at once in 0.4 s each; more of them take proportionally longer."""

    def __init__(self, bears: int) -> None:
        self.bears, self.now, self.number = bears, 0.0, 0
        self.paces = Paces(now=lambda: self.now)
        self.running: list[tuple[float, str, float]] = []
        self.most = 0

    def run(self, seconds: float) -> int:
        done = 0
        while self.now < seconds:
            while self.paces.may_start(["m"]):
                job = f"j{self.number}"
                self.number += 1
                self.paces.handed_over(job)
                self.paces.placed(job, "m")
                took = 0.4 * max(1.0, (len(self.running) + 1) / self.bears)
                heapq.heappush(self.running, (self.now + took, job, took))
                self.most = max(self.most, len(self.running))
            self.now, job, took = heapq.heappop(self.running)
            self.paces.started(job, "m", took)
            done += 1
        return done


@pytest.mark.parametrize("bears", [2, 8, 40])
def test_the_limit_finds_what_a_machine_bears(bears: int) -> None:
    machine = Simulated(bears)
    done = machine.run(60)
    best = 60 / 0.4 * bears
    assert done > best * 0.6
    assert machine.paces.limit("m") < bears * 6 + 8


def test_a_strong_machine_gets_more_than_a_weak_one() -> None:
    weak, strong = Simulated(2), Simulated(40)
    weak.run(60)
    strong.run(60)
    assert strong.paces.limit("m") > 2 * weak.paces.limit("m")


def test_what_is_handed_over_counts_before_its_machine_is_known() -> None:
    paces = Paces(now=lambda: 0.0)
    for number in range(int(FIRST_LIMIT)):
        assert paces.may_start(["m"])
        paces.handed_over(f"j{number}")
    assert not paces.may_start(["m"])
    assert paces.may_start(["m", "n"])
    paces.started("j0", None, None)
    assert paces.may_start(["m"])


def test_a_start_that_never_ends_holds_nobody_up_for_ever() -> None:
    now = [0.0]
    paces = Paces(now=lambda: now[0])
    for number in range(int(FIRST_LIMIT)):
        paces.handed_over(f"j{number}")
    assert not paces.may_start(["m"])
    now[0] = HELD_SECONDS + 1
    assert paces.may_start(["m"])


def test_without_machines_nobody_is_held() -> None:
    assert Paces(now=lambda: 0.0).may_start([])
