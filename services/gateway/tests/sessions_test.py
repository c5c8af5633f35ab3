"""Sessions: signing in, being believed for seconds, being forgotten at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datalabs_contracts import events
from datalabs_contracts.people import Person, PersonFact, ResolveSession, Role, Session
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import RESOLVE_SESSION
from datalabs_gateway.errors import SessionGoneError
from datalabs_gateway.sessions import Sessions, digest_of
from datalabs_testing.clock import FakeClock

PASSWORD = "correct horse battery"


async def test_signing_in_sets_a_host_cookie_and_me_answers(stage: Any) -> None:
    client = stage.client()
    answer = await client.post("/api/v1/session", json={"username": "ada", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["username"] == "ada"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-datalabs-session=")
    for rule in ("Path=/", "Secure", "HttpOnly", "SameSite=Lax"):
        assert rule in cookie
    assert "Domain" not in cookie
    client.headers["cookie"] = cookie.partition(";")[0]
    me = await client.get("/api/v1/me")
    assert me.json()["limits"]["max_labs"] == 4
    assert "set-cookie" not in me.headers


async def test_wrong_credentials(stage: Any, fakes: Any) -> None:
    client = stage.client(**{"x-forwarded-for": "203.0.113.9, 198.51.100.7"})
    answer = await client.post("/api/v1/session", json={"username": "ada", "password": "wrong"})
    assert answer.status_code == 401
    assert answer.json()["code"] == "wrong_credentials"
    request, _ = fakes.last("sign_in")
    assert request.address == "198.51.100.7"
    assert PASSWORD not in answer.text


async def test_a_session_is_asked_for_once_however_many_wait(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    stage.parts.gateway.sessions.forget_all()
    await asyncio.gather(*(client.get("/api/v1/labs") for _ in range(20)))
    assert fakes.times("resolve_session") == 1


async def test_a_session_that_ends_in_the_middle_of_work(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    assert (await client.get("/api/v1/labs")).status_code == 200
    (session,) = fakes.sessions.values()
    fakes.sessions.clear()
    await fakes.tell_session_ended(session)
    await stage.until(lambda: not stage.parts.gateway.sessions._known)
    for answer in (
        await client.get("/api/v1/labs"),
        await client.post("/api/v1/labs", json={"datalab": "jupyterlab"}),
    ):
        assert answer.status_code == 401
        assert answer.json()["code"] == "session_expired"
    # Who is gone may still sign out, and in again.
    assert (await client.delete("/api/v1/session")).status_code == 204
    await client.sign_in("ada")
    assert (await client.get("/api/v1/labs")).status_code == 200


async def test_a_change_of_roles_holds_at_once(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    assert (await client.get("/api/v1/people")).status_code == 403
    promoted = fakes.people["ada"].model_copy(update={"roles": [Role.OPERATOR], "revision": 2})
    fakes.people["ada"] = promoted
    await fakes.tell(
        events.PERSON_CHANGED,
        promoted.id,
        PersonFact(person=promoted, revision=2, owner="ada", actor="admin"),
    )
    await stage.until(lambda: not stage.parts.gateway.sessions._known)
    assert (await client.get("/api/v1/people")).status_code == 200


async def test_signing_out_twice_does_no_harm(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for _ in range(2):
        assert (await client.delete("/api/v1/session")).status_code == 204
    assert (await stage.client().delete("/api/v1/session")).status_code == 204
    assert (await client.get("/api/v1/me")).json()["code"] == "session_expired"


class Auth:
    """Auth as `Sessions` asks it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.person = Person(
            id="1", username="ada", roles=[Role.USER], uid=1, revision=1, created_at=clock.now()
        )
        self.asked = 0
        self.refusal: ProblemError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, operation: Any, request: Any, *_: Any, **__: Any) -> Session:
        assert operation is RESOLVE_SESSION
        assert isinstance(request, ResolveSession)
        self.asked += 1
        person = self.person
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        return Session(
            id="s1",
            person=person,
            created_at=self.clock.now(),
            expires_at=datetime(2026, 11, 2, 9, 0, tzinfo=UTC) + timedelta(minutes=5),
        )


class Stamp:
    """A signer that says whom it was asked for."""

    def for_person(self, person: Person, session_id: str) -> str:
        return f"{person.username} {person.revision} {session_id}"


@pytest.fixture
def auth(clock: FakeClock) -> Auth:
    return Auth(clock)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sessions(auth: Auth, clock: FakeClock) -> Sessions:
    return Sessions(ask=auth, signer=Stamp(), clock=clock, believe_seconds=30)  # type: ignore[arg-type]


async def test_belief_lasts_seconds_and_is_renewed_before_it_ends(
    sessions: Sessions, auth: Auth, clock: FakeClock
) -> None:
    caller = await sessions.resolve(digest_of("secret"))
    assert caller.assert_identity() == "ada 1 s1"
    assert sessions.believed("secret") is caller
    await clock.advance(20)
    assert sessions.believed("secret") is caller
    await clock.advance(0)
    assert auth.asked == 2
    await clock.advance(31)
    assert sessions.believed("secret") is None
    await clock.advance(600)
    with pytest.raises(SessionGoneError):
        await sessions.resolve(digest_of("secret"))


async def test_an_end_that_is_heard_while_auth_is_asked_wins(
    sessions: Sessions, auth: Auth, clock: FakeClock
) -> None:
    auth.gate.clear()
    asked = asyncio.create_task(sessions.resolve(digest_of("secret")))
    await clock.advance(0)
    sessions.forget("s1")
    auth.gate.set()
    with pytest.raises(SessionGoneError):
        await asked
    assert sessions.believed("secret") is None


async def test_an_answer_older_than_a_change_is_not_kept(
    sessions: Sessions, auth: Auth, clock: FakeClock
) -> None:
    auth.gate.clear()
    asked = asyncio.create_task(sessions.resolve(digest_of("secret")))
    await clock.advance(0)
    sessions.person_changed("1", 2)
    auth.gate.set()
    assert (await asked).person.revision == 1
    assert sessions.believed("secret") is None


async def test_an_unknown_secret_is_not_asked_for_again_at_once(
    sessions: Sessions, auth: Auth, clock: FakeClock
) -> None:
    auth.refusal = ProblemError(ProblemCode.SESSION_EXPIRED)
    for _ in range(3):
        with pytest.raises(SessionGoneError):
            await sessions.resolve(digest_of("guess"))
    assert auth.asked == 1
    await clock.advance(6)
    with pytest.raises(SessionGoneError):
        await sessions.resolve(digest_of("guess"))
    assert auth.asked == 2


async def test_auth_away_is_no_end_of_a_session(sessions: Sessions, auth: Auth) -> None:
    caller = await sessions.resolve(digest_of("secret"))
    sessions.forget_all()
    auth.refusal = ProblemError(ProblemCode.SERVICE_UNAVAILABLE)
    with pytest.raises(ProblemError):
        await sessions.resolve(digest_of("secret"))
    assert await sessions.still_holds(caller)
    auth.refusal = None
    assert await sessions.still_holds(caller)
