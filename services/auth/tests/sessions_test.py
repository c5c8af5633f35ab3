import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import pytest

from datalabs_auth.store import Store
from datalabs_contracts.people import EndSession, ResolveSession, Role, Session, SignedIn
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_runtime.identity import Identity

OPERATOR = Identity(username="admin", roles=(Role.USER, Role.OPERATOR))
ELSEWHERE = "198.51.100.9"


async def resolve(desk: Any, signed_in: SignedIn) -> Session:
    digest = hashlib.sha256(signed_in.secret.encode()).hexdigest()
    return await desk.sessions.resolve(ResolveSession(secret_sha256=digest))


async def refusal(desk: Any, *, username: str = "hypatia", address: str = "192.0.2.7") -> ProblemError:
    with pytest.raises(ProblemError) as refused:
        await desk.sessions.sign_in(desk.attempt(username, "wrong", address))
    return refused.value


async def test_signing_in_gives_a_session_that_its_secret_resolves(desk: Any) -> None:
    person = await desk.person()
    signed_in = await desk.sessions.sign_in(desk.attempt(" Hypatia "))
    assert signed_in.session.person == person
    assert signed_in.session.expires_at == desk.clock.now() + timedelta(hours=24)
    assert await resolve(desk, signed_in) == signed_in.session
    assert (await desk.facts())[1:] == [f"events.session.{signed_in.session.id}.started"]


async def test_the_secret_is_stored_nowhere(desk: Any) -> None:
    await desk.person()
    signed_in = await desk.sessions.sign_in(desk.attempt())
    async with desk.database.reading() as session:
        record = await Store(session).session_by_id(signed_in.session.id)
    assert record is not None
    assert signed_in.secret not in repr(record)


@pytest.mark.parametrize("username", ["hypatia", "nobody", "no\0body", "\u0130", "x" * 64])
async def test_a_wrong_password_and_an_unknown_name_look_the_same(desk: Any, username: str) -> None:
    await desk.person()
    refused = await refusal(desk, username=username)
    assert (refused.code, refused.detail) == (ProblemCode.WRONG_CREDENTIALS, "")


async def test_an_unknown_secret_is_nobodys(desk: Any) -> None:
    with pytest.raises(ProblemError) as refused:
        await desk.sessions.resolve(ResolveSession(secret_sha256="0" * 64))
    assert refused.value.code is ProblemCode.NOT_SIGNED_IN


async def test_a_session_ends_when_it_is_not_used(desk: Any) -> None:
    await desk.person()
    signed_in = await desk.sessions.sign_in(desk.attempt())
    for _ in range(3):
        await desk.clock.advance(timedelta(hours=23))
        await resolve(desk, signed_in)
    await desk.clock.advance(timedelta(hours=24))
    with pytest.raises(ProblemError) as refused:
        await resolve(desk, signed_in)
    assert refused.value.code is ProblemCode.SESSION_EXPIRED


async def test_a_session_ends_after_its_lifetime_however_much_it_is_used(desk: Any) -> None:
    await desk.person()
    signed_in = await desk.sessions.sign_in(desk.attempt())
    for _ in range(13):
        await desk.clock.advance(timedelta(hours=12))
        await resolve(desk, signed_in)
    await desk.clock.advance(timedelta(hours=12))
    with pytest.raises(ProblemError) as refused:
        await resolve(desk, signed_in)
    assert refused.value.code is ProblemCode.SESSION_EXPIRED


async def test_use_is_written_down_at_most_once_a_minute(desk: Any) -> None:
    await desk.person()
    signed_in = await desk.sessions.sign_in(desk.attempt())
    began = desk.clock.now()

    async def last_seen() -> timedelta:
        async with desk.database.reading() as session:
            record = await Store(session).session_by_id(signed_in.session.id)
        assert record is not None
        return record.last_seen_at - began

    await desk.clock.advance(59)
    await resolve(desk, signed_in)
    assert await last_seen() == timedelta()
    await desk.clock.advance(1)
    await resolve(desk, signed_in)
    assert await last_seen() == timedelta(seconds=60)
    await desk.clock.advance(30)
    await resolve(desk, signed_in)
    assert await last_seen() == timedelta(seconds=60)


async def test_signing_out_ends_the_session_once(desk: Any) -> None:
    person = await desk.person()
    signed_in = await desk.sessions.sign_in(desk.attempt())
    caller = Identity(username=person.username, person_id=person.id)
    for _ in range(2):
        await desk.sessions.end(EndSession(session_id=signed_in.session.id), caller=caller)
    with pytest.raises(ProblemError) as refused:
        await resolve(desk, signed_in)
    assert refused.value.code is ProblemCode.SESSION_EXPIRED
    assert (await desk.facts())[2:] == [f"events.session.{signed_in.session.id}.ended"]


async def test_nobody_ends_anothers_session(desk: Any) -> None:
    await desk.person()
    eve = await desk.person("eve")
    signed_in = await desk.sessions.sign_in(desk.attempt())
    request = EndSession(session_id=signed_in.session.id)
    await desk.sessions.end(request, caller=Identity(username="eve", person_id=eve.id))
    assert await resolve(desk, signed_in)
    await desk.sessions.end(request, caller=OPERATOR)
    with pytest.raises(ProblemError):
        await resolve(desk, signed_in)


async def test_expired_sessions_are_told_and_forgotten_later(desk: Any) -> None:
    await desk.person()
    signed_in = await desk.sessions.sign_in(desk.attempt())
    await desk.clock.advance(timedelta(hours=24))
    await desk.sessions.end_due()
    await desk.sessions.end_due()
    assert (await desk.facts())[2:] == [f"events.session.{signed_in.session.id}.ended"]
    await desk.clock.advance(timedelta(days=31))
    await desk.sessions.end_due()
    with pytest.raises(ProblemError) as refused:
        await resolve(desk, signed_in)
    assert refused.value.code is ProblemCode.NOT_SIGNED_IN


async def test_wrong_passwords_slow_down_and_the_delay_doubles(desk: Any) -> None:
    await desk.person()
    waits = []
    for _ in range(7):
        refused = await refusal(desk)
        assert refused.code is ProblemCode.WRONG_CREDENTIALS
        waits.append(refused.retry_after)
        if refused.retry_after:
            early = await refusal(desk)
            assert early.code is ProblemCode.RATE_LIMITED
            assert early.retry_after == refused.retry_after
            await desk.clock.advance(refused.retry_after)
    assert waits == [None, None, None, None, 1, 2, 4]
    await desk.sessions.sign_in(desk.attempt())
    assert (await refusal(desk)).retry_after is None


async def test_an_attacker_locks_nobody_else_out(desk: Any) -> None:
    await desk.person()
    await desk.person("kepler")
    for _ in range(50):
        await refusal(desk)
    assert (await refusal(desk)).code is ProblemCode.RATE_LIMITED
    await desk.sessions.sign_in(desk.attempt("kepler"))
    await desk.sessions.sign_in(desk.attempt(address=ELSEWHERE))


async def test_a_list_of_names_slows_the_address_but_not_its_regulars(desk: Any) -> None:
    await desk.person()
    await desk.person("kepler")
    await desk.sessions.sign_in(desk.attempt("kepler"))
    codes = [(await refusal(desk, username=f"guess{number}")).code for number in range(25)]
    assert codes == [ProblemCode.WRONG_CREDENTIALS] * 20 + [ProblemCode.RATE_LIMITED] * 5
    await desk.sessions.sign_in(desk.attempt("kepler"))
    with pytest.raises(ProblemError) as refused:
        await desk.sessions.sign_in(desk.attempt())
    assert refused.value.code is ProblemCode.RATE_LIMITED
    await desk.sessions.sign_in(desk.attempt(address=ELSEWHERE))


async def test_guesses_sent_at_once_get_no_more_tries(desk: Any) -> None:
    await desk.person()
    refused = await asyncio.gather(*(refusal(desk) for _ in range(30)))
    codes = [one.code for one in refused]
    assert codes.count(ProblemCode.WRONG_CREDENTIALS) == 5
    assert codes.count(ProblemCode.RATE_LIMITED) == 25


async def test_many_right_sign_ins_at_once_all_pass(desk: Any) -> None:
    await desk.person()
    signed_in = await asyncio.gather(*(desk.sessions.sign_in(desk.attempt()) for _ in range(20)))
    assert len({one.secret for one in signed_in}) == 20


async def test_failures_survive_a_restart_and_are_forgotten_in_time(desk: Any) -> None:
    await desk.person()
    for _ in range(5):
        await refusal(desk)
    restarted = desk.restarted()
    assert (await refusal(restarted)).code is ProblemCode.RATE_LIMITED
    await desk.clock.advance(timedelta(minutes=31))
    assert (await refusal(restarted)).retry_after is None
    await desk.clock.advance(timedelta(minutes=31))
    await desk.sessions.end_due()
    async with desk.database.reading() as session:
        assert (
            await Store(session).forget_brakes(
                failed_before=desk.clock.now(), trusted_before=desk.clock.now()
            )
            == 0
        )
