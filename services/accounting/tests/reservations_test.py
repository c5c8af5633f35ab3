import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from datalabs_accounting.models import Override
from datalabs_accounting.store import Store
from datalabs_contracts.labs import Amounts, LabState, Limits
from datalabs_contracts.people import Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.usage import LimitsBody, LimitsQuery, Release, SetLimits
from datalabs_runtime.identity import Identity

HYPATIA = Identity(username="hypatia")


async def used(books: Any, owner: str = "hypatia") -> int:
    limits = await books.reservations.limits(LimitsQuery(owner=owner), caller=Identity(username=owner))
    return int(limits.used.labs)


async def refusal(books: Any, **changes: Any) -> ProblemError:
    with pytest.raises(ProblemError) as refused:
        await books.reservations.reserve(books.reserve(**changes))
    assert refused.value.code is ProblemCode.QUOTA_EXCEEDED
    return refused.value


async def test_a_reservation_counts_and_shows_the_limits(books: Any) -> None:
    limits = await books.reservations.reserve(books.reserve())
    assert limits == Limits(
        used=Amounts(labs=1, cores=0.5, memory_mib=768), max_labs=4, max_cores=4, max_memory_mib=8192
    )


async def test_the_same_reservation_again_holds_nothing_more(books: Any) -> None:
    request = books.reserve()
    for _ in range(3):
        assert (await books.reservations.reserve(request)).used.labs == 1
    for _ in range(2):
        await books.reservations.release(Release(lab_id=request.lab_id, attempt=1))
    assert await used(books) == 0


async def test_fifty_at_once_against_four_give_exactly_four(books: Any) -> None:
    results = await asyncio.gather(
        *(books.reservations.reserve(books.reserve()) for _ in range(50)), return_exceptions=True
    )
    taken = [one for one in results if isinstance(one, Limits)]
    assert sorted(one.used.labs for one in taken) == [1, 2, 3, 4]
    assert all(one.code == "quota_exceeded" for one in results if isinstance(one, ProblemError))
    assert len(results) - len(taken) == 46
    assert await used(books) == 4


async def test_one_that_cannot_be_written_takes_no_other_along(books: Any) -> None:
    odd = books.reserve(unlimited=True, amounts=Amounts(labs=1, cores=1, memory_mib=2**40))
    asked = [books.reserve(), books.reserve(owner="ada"), odd, books.reserve()]
    results = await asyncio.gather(
        *(books.reservations.reserve(one) for one in asked), return_exceptions=True
    )
    assert [type(one) for one in results] == [Limits, Limits, DataError, Limits]
    assert (await used(books), await used(books, "ada")) == (2, 1)


async def test_without_a_database_nothing_is_held_and_afterwards_each_can_be(
    books: Any, platform: Any
) -> None:
    asked = [books.reserve() for _ in range(3)]
    await books.reservations.reserve(asked[0])
    await asyncio.to_thread(platform.postgres.kill)
    lost = await asyncio.gather(*(books.reservations.reserve(one) for one in asked), return_exceptions=True)
    assert {type(error) for error in lost} == {OperationalError}
    await asyncio.to_thread(platform.postgres.start)
    await asyncio.gather(*(books.reservations.reserve(one) for one in asked))
    assert await used(books) == 3


async def test_a_repeat_at_the_limit_is_no_refusal(books: Any) -> None:
    requests = [books.reserve() for _ in range(4)]
    for request in requests * 2:
        await books.reservations.reserve(request)
    assert await used(books) == 4


@pytest.mark.parametrize(
    ("amounts", "resource", "words"),
    [
        (Amounts(labs=4, cores=0, memory_mib=0), "labs", "You have 1 of at most 4 labs."),
        (Amounts(labs=1, cores=3.75, memory_mib=0), "cores", "Your labs have 0.5 of at most 4 cores"),
        (Amounts(labs=1, cores=0, memory_mib=8000), "memory_mib", "takes 7.81 GiB"),
    ],
)
async def test_a_refusal_says_what_is_used_and_allowed(
    books: Any, amounts: Amounts, resource: str, words: str
) -> None:
    await books.reservations.reserve(books.reserve())
    refused = await refusal(books, amounts=amounts)
    assert words in refused.detail
    assert refused.extra == {
        "resource": resource,
        "used": {"labs": 1, "cores": 0.5, "memory_mib": 768},
        "asked": amounts.model_dump(),
        "limit": {"labs": 4, "cores": 4, "memory_mib": 8192},
    }


async def test_fractions_of_cores_add_up(books: Any) -> None:
    for cores in (0.1, 0.2, 3.7):
        amounts = Amounts(labs=1, cores=cores, memory_mib=1)
        await books.reservations.reserve(books.reserve(amounts=amounts))
    await refusal(books, amounts=Amounts(labs=1, cores=0.1, memory_mib=1))


async def test_limits_are_a_persons_own(books: Any) -> None:
    for _ in range(4):
        await books.reservations.reserve(books.reserve())
    await refusal(books)
    assert (await books.reservations.reserve(books.reserve(owner="kepler"))).used.labs == 1


async def test_operators_have_no_limits_but_are_counted(books: Any) -> None:
    for number in range(10):
        limits = await books.reservations.reserve(books.reserve(owner="admin", unlimited=True))
        assert limits.max_labs is None
        assert limits.used.labs == number + 1


async def test_an_override_holds_for_one_person(books: Any) -> None:
    async with books.database.transaction() as session:
        await Store(session).set_override("hypatia", Override(labs=1))
        await Store(session).set_override("kepler", Override(unlimited=True))
    limits = await books.reservations.reserve(books.reserve())
    assert (limits.max_labs, limits.max_cores) == (1, 4)
    await refusal(books)
    for _ in range(6):
        await books.reservations.reserve(books.reserve(owner="kepler"))


async def test_an_operator_sets_what_a_person_may_have(books: Any) -> None:
    admin = Identity(username="admin", roles=(Role.OPERATOR,))
    tight = SetLimits(owner="hypatia", own=LimitsBody(max_labs=1, max_cores=64))
    for _ in range(2):
        told = await books.reservations.set_limits(tight, caller=admin)
    assert (told.own, told.limits.max_labs, told.limits.max_cores) == (tight.own, 1, 64)
    assert (told.site.max_labs, told.limits.max_memory_mib) == (4, 8192)
    await books.reservations.reserve(books.reserve())
    await refusal(books)
    # Missing maxima are the site's again; a lab that runs goes on and counts.
    told = await books.reservations.set_limits(SetLimits(owner="hypatia", own=LimitsBody()), caller=admin)
    assert (told.limits.used.labs, told.limits.max_labs, told.limits.max_cores) == (1, 4, 4)
    await books.reservations.reserve(books.reserve())
    free = LimitsBody(unlimited=True)
    told = await books.reservations.set_limits(SetLimits(owner="hypatia", own=free), caller=admin)
    assert (told.own.unlimited, told.limits.max_labs, told.limits.used.labs) == (True, None, 2)
    assert await books.reservations.person_limits(LimitsQuery(owner="hypatia"), caller=admin) == told


async def test_only_operators_set_limits(books: Any) -> None:
    for ask in (
        books.reservations.set_limits(
            SetLimits(owner="hypatia", own=LimitsBody(unlimited=True)), caller=HYPATIA
        ),
        books.reservations.person_limits(LimitsQuery(owner="hypatia"), caller=HYPATIA),
    ):
        with pytest.raises(ProblemError) as refused:
            await ask
        assert refused.value.code is ProblemCode.FORBIDDEN


async def test_nobody_sees_anothers_limits(books: Any) -> None:
    with pytest.raises(ProblemError) as refused:
        await books.reservations.limits(LimitsQuery(owner="kepler"), caller=HYPATIA)
    assert refused.value.code is ProblemCode.NOT_FOUND


@pytest.mark.parametrize("state", [LabState.STOPPED, LabState.FAILED])
async def test_the_end_of_a_lab_frees_its_reservation(books: Any, state: LabState) -> None:
    request = books.reserve()
    await books.reservations.reserve(request)
    await books.take(books.lab(LabState.STARTING, id=request.lab_id))
    assert await used(books) == 1
    await books.take(books.lab(state, id=request.lab_id, attempt=2))
    assert await used(books) == 1
    await books.take(books.lab(state, id=request.lab_id))
    assert await used(books) == 0


async def test_reconciling_frees_what_no_lab_holds(books: Any) -> None:
    lives, waits, gone = books.reserve(), books.reserve(), books.reserve()
    for request in (lives, waits, gone):
        await books.reservations.reserve(request)
    others = [books.lab(owner="kepler") for _ in range(4)]
    books.launcher.labs = [
        *others,
        books.lab(LabState.STOPPING, id=lives.lab_id),
        books.lab(LabState.QUEUED, id=waits.lab_id),
        books.lab(id=gone.lab_id, attempt=2),
    ]
    assert await books.reservations.reconcile() == 0
    await books.clock.advance(timedelta(seconds=91))
    assert await books.reservations.reconcile() == 2
    assert await used(books) == 1


async def test_reconciling_spares_what_was_confirmed_of_late(books: Any) -> None:
    old, fresh = books.reserve(), books.reserve()
    await books.reservations.reserve(old)
    await books.clock.advance(timedelta(seconds=80))
    await books.reservations.reserve(old)
    await books.reservations.reserve(fresh)
    await books.clock.advance(timedelta(seconds=80))
    assert await books.reservations.reconcile() == 0
    await books.clock.advance(timedelta(seconds=20))
    assert await books.reservations.reconcile() == 2


async def test_half_an_answer_frees_nothing(books: Any) -> None:
    for _ in range(3):
        await books.reservations.reserve(books.reserve())
    await books.clock.advance(timedelta(minutes=5))
    books.launcher.labs = [books.lab() for _ in range(5)]
    books.launcher.breaks_after = 2
    with pytest.raises(ProblemError):
        await books.reservations.reconcile()
    assert await used(books) == 3
