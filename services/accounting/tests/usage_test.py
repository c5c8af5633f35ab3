from datetime import timedelta
from typing import Any

import pytest

from datalabs_contracts.labs import LabState
from datalabs_contracts.people import Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.usage import UsageBy, UsageQuery
from datalabs_runtime.identity import Identity

HYPATIA = Identity(username="hypatia")
ADMIN = Identity(username="admin", roles=(Role.OPERATOR,))
GATEWAY = Identity(username="service:gateway", service="gateway")


async def rows(books: Any, *, caller: Identity = HYPATIA, **query: Any) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = await books.usage.page(UsageQuery(cursor=cursor, **query), caller=caller)
        found += page.items
        cursor = page.next
        if cursor is None:
            assert sum(row.seconds for row in found) == pytest.approx(page.total.seconds)
            return found


async def test_labs_are_listed_newest_first_page_by_page(books: Any) -> None:
    began = books.clock.now() - timedelta(days=2)
    labs = [books.ended(began + timedelta(hours=number), 60 + number) for number in range(7)]
    labs += [books.ended(began, 60) for _ in range(2)]
    for lab in labs:
        await books.take(lab)
    found = await rows(books, limit=2)
    assert [row.lab for row in found[:7]] == [lab.id for lab in reversed(labs[1:7])] + [found[6].lab]
    assert {row.lab for row in found} == {lab.id for lab in labs}
    assert len(found) == len(labs)


async def test_all_pages_count_running_labs_up_to_the_same_moment(books: Any) -> None:
    for _ in range(3):
        await books.take(books.lab(started_at=books.clock.now()))
    await books.clock.advance(60)
    first = await books.usage.page(UsageQuery(limit=2), caller=HYPATIA)
    await books.clock.advance(60)
    second = await books.usage.page(UsageQuery(limit=2, cursor=first.next), caller=HYPATIA)
    assert [row.seconds for row in first.items + second.items] == [60, 60, 60]
    assert first.total == second.total
    assert first.total.seconds == 180


async def test_days_sizes_and_datalabs_are_paged(books: Any) -> None:
    began = books.clock.now() - timedelta(days=5)
    for number in range(5):
        await books.take(
            books.ended(
                began + timedelta(days=number),
                3600,
                size=f"size{number % 3}",
                datalab=f"datalab{number % 2}",
            )
        )
    assert [row.size for row in await rows(books, by=UsageBy.SIZE, limit=1)] == ["size0", "size1", "size2"]
    assert [row.datalab for row in await rows(books, by=UsageBy.DATALAB, limit=1)] == ["datalab0", "datalab1"]
    days = [row.day for row in await rows(books, by=UsageBy.DAY, limit=2)]
    assert days == [(began + timedelta(days=number)).date() for number in (4, 3, 2, 1, 0)]


async def test_only_what_lies_between_the_two_moments_counts(books: Any) -> None:
    noon = books.clock.now() - timedelta(days=1)
    await books.take(books.ended(noon - timedelta(hours=1), 3600 + 600))
    await books.take(books.ended(noon - timedelta(hours=2), 3600))
    await books.take(books.ended(noon + timedelta(minutes=50), 3600))
    await books.take(books.ended(noon + timedelta(hours=1), 3600))
    await books.take(books.ended(noon, 0))
    await books.take(books.lab(started_at=noon + timedelta(minutes=30)))
    between = {"since": noon, "until": noon + timedelta(hours=1)}
    for by in UsageBy:
        found = await rows(books, by=by, **between)
        assert sum(row.seconds for row in found) == 600 + 600 + 1800
    assert len(await rows(books, **between)) == 4


async def test_people_see_their_own_and_operators_anybodys(books: Any) -> None:
    await books.take(books.ended(books.clock.now(), 60))
    await books.take(books.ended(books.clock.now(), 30, owner="kepler"))
    assert [row.seconds for row in await rows(books)] == [60]
    assert [row.seconds for row in await rows(books, caller=ADMIN, owner="kepler")] == [30]
    assert await rows(books, caller=ADMIN, owner="admin") == []
    for caller in (ADMIN, GATEWAY):
        assert len(await rows(books, caller=caller)) == 2
    with pytest.raises(ProblemError) as refusal:
        await rows(books, owner="kepler")
    assert refusal.value.code is ProblemCode.NOT_FOUND


async def test_ones_own_page_shows_ones_limits(books: Any) -> None:
    await books.reservations.reserve(books.reserve())
    page = await books.usage.page(UsageQuery(), caller=HYPATIA)
    assert page.limits.used.labs == 1
    assert page.limits.max_labs == 4
    assert (await books.usage.page(UsageQuery(owner="admin"), caller=ADMIN)).limits.max_labs is None
    assert (await books.usage.page(UsageQuery(), caller=ADMIN)).limits is None
    assert (await books.usage.page(UsageQuery(owner="hypatia"), caller=ADMIN)).limits is None


@pytest.mark.parametrize("cursor", ["x", "WyJ1c2FnZS1sYWIiLDk5OTk5OTk5OTk5OTk5OTk5OSwwLCJhIl0"])
async def test_a_forged_cursor_is_refused(books: Any, cursor: str) -> None:
    with pytest.raises(ProblemError) as refusal:
        await books.usage.page(UsageQuery(cursor=cursor), caller=HYPATIA)
    assert refusal.value.code is ProblemCode.INVALID_CURSOR


async def test_a_cursor_of_another_grouping_is_refused(books: Any) -> None:
    for _ in range(2):
        await books.take(books.lab(LabState.READY, started_at=books.clock.now()))
    page = await books.usage.page(UsageQuery(limit=1), caller=HYPATIA)
    with pytest.raises(ProblemError) as refusal:
        await books.usage.page(UsageQuery(by=UsageBy.DAY, cursor=page.next), caller=HYPATIA)
    assert refusal.value.code is ProblemCode.INVALID_CURSOR
