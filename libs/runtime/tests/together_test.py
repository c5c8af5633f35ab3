"""Work that comes together is done together, and each gets its own answer."""

import asyncio

import pytest

from datalabs_runtime.together import Together


class Counter:
    """Doubles numbers; refuses odd ones; notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.broken = False

    async def __call__(self, numbers: list[int]) -> list[int | Exception]:
        self.batches.append(numbers)
        self.begun.set()
        await self.gate.wait()
        if self.broken:
            raise ConnectionError("away")
        return [ValueError(f"{number} is odd") if number % 2 else number * 2 for number in numbers]


async def test_what_comes_while_a_batch_is_worked_on_is_the_next_batch() -> None:
    work = Counter()
    together = Together(work, most=3)
    first = asyncio.create_task(together(2))
    await work.begun.wait()
    rest = [asyncio.create_task(together(number)) for number in (4, 6, 8, 10)]
    await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(first, *rest) == [4, 8, 12, 16, 20]
    assert work.batches == [[2], [4, 6, 8], [10]]


async def test_each_gets_its_own_refusal_and_a_broken_batch_is_everybodys() -> None:
    work = Counter()
    work.gate.set()
    together = Together(work)
    replies = await asyncio.gather(together(2), together(3), return_exceptions=True)
    assert replies[0] == 4
    assert isinstance(replies[1], ValueError)
    work.broken = True
    for reply in await asyncio.gather(together(2), together(4), return_exceptions=True):
        assert isinstance(reply, ConnectionError)
    work.broken = False
    assert await together(6) == 12


async def test_who_gives_up_holds_nobody_up() -> None:
    work = Counter()
    together = Together(work)
    first, second = asyncio.create_task(together(2)), asyncio.create_task(together(4))
    await work.begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    work.gate.set()
    assert await second == 8


async def test_what_is_one_items_fault_ends_no_other() -> None:
    batches: list[list[int]] = []

    async def work(numbers: list[int]) -> list[int]:
        batches.append(numbers)
        if 13 in numbers:
            raise ValueError("no such row")
        return [number * 2 for number in numbers]

    together = Together(work, apart=lambda error: isinstance(error, ValueError))
    answers = await asyncio.gather(*(together(number) for number in (2, 13, 4)), return_exceptions=True)
    assert [answers[0], answers[2]] == [4, 8]
    assert isinstance(answers[1], ValueError)
    assert batches == [[2, 13, 4], [2], [13], [4]]


async def test_what_is_nobodys_fault_is_not_tried_again() -> None:
    work = Counter()
    work.gate.set()
    work.broken = True
    together = Together(work, apart=lambda error: isinstance(error, ValueError))
    answers = await asyncio.gather(*(together(number) for number in (2, 4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    assert work.batches == [[2, 4]]


async def test_with_a_pause_one_alone_waits_for_nobody_and_those_after_it_go_together() -> None:
    work = Counter()
    work.gate.set()
    together = Together(work, pause=0.5)
    assert await together(2) == 4
    second = asyncio.create_task(together(4))
    await asyncio.sleep(0.01)
    assert not second.done()
    assert await together(6) == 12
    assert await second == 8
    assert work.batches == [[2], [4, 6]]
