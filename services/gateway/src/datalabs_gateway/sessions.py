"""Whose session is it: asked of auth, believed for seconds, forgotten at once when an event says so."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from datalabs_contracts.people import EndSession, ResolveSession, Session, SessionFact, SignIn, SignInAttempt
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import END_SESSION, RESOLVE_SESSION, SIGN_IN
from datalabs_gateway.asking import Asking
from datalabs_gateway.callers import Caller, Scope
from datalabs_gateway.cookies import SESSION, cookie_in
from datalabs_gateway.errors import SessionGoneError
from datalabs_runtime.clock import Clock
from datalabs_runtime.identity import Signer

REFRESH_SHARE = 0.6
"""After this share of the belief's life a session in use is asked for again in the background."""
REMEMBERED_ENDS = 10_000
"""Sessions whose end was heard of; a resolve that was under way meanwhile must not bring one back."""
UNKNOWN_SECONDS = 5.0
"""A secret that auth does not know is not asked for again so soon; nobody can come to own it later."""
GONE = frozenset({ProblemCode.NOT_SIGNED_IN, ProblemCode.SESSION_EXPIRED, ProblemCode.NOT_FOUND})


@dataclass(slots=True)
class _Known:
    caller: Caller
    at: float


class Sessions:
    """The sessions in use, by the SHA-256 of their secret."""

    def __init__(
        self, *, ask: Asking, signer: Signer, clock: Clock, believe_seconds: float, capacity: int = 20_000
    ) -> None:
        self._ask = ask
        self._signer = signer
        self._clock = clock
        self._believe = believe_seconds
        self._capacity = capacity
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._by_id: dict[str, str] = {}
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._asked: dict[str, asyncio.Task[Caller]] = {}
        self._on_end: list[Callable[[str], None]] = []

    def when_ended(self, tell: Callable[[str], None]) -> None:
        """Call back with the id of each session that ends."""
        self._on_end.append(tell)

    async def begin(self, body: SignIn, address: str) -> tuple[Caller, str]:
        """Sign in; return the caller and the secret for the cookie.

        Raises ProblemError `wrong_credentials` or `rate_limited`.
        """
        attempt = SignInAttempt(username=body.username, password=body.password, address=address)
        signed_in = await self._ask(SIGN_IN, attempt)
        return self._learn(digest_of(signed_in.secret), signed_in.session), signed_in.secret

    async def end(self, scope: Scope) -> None:
        """Sign out the session of a request's cookie, if it has one."""
        secret = cookie_in(scope, SESSION)
        if not secret:
            return
        try:
            caller = await self.resolve(digest_of(secret))
        except SessionGoneError:
            return
        await self._ask(END_SESSION, EndSession(session_id=caller.session_id), caller)
        self.forget(caller.session_id)

    def believed(self, secret: str) -> Caller | None:
        """Return the caller of a cookie if no question to auth is due; for the hot path."""
        known = self._known.get(digest_of(secret))
        if known is None:
            return None
        now = self._clock.now().timestamp()
        age = now - known.at
        if age > self._believe or known.caller.expires_at.timestamp() <= now:
            return None
        if age > self._believe * REFRESH_SHARE:
            self._refresh(known.caller.session_sha256)
        return known.caller

    async def resolve(self, sha256: str, *, max_age: float | None = None) -> Caller:
        """Return the caller whose secret has this digest, known at most `max_age` seconds ago.

        Raises SessionGoneError for a session that has ended or never was, ProblemError when auth does not answer.
        """
        now = self._clock.now()
        known = self._known.get(sha256)
        if known is not None:
            if known.caller.expires_at <= now:
                self._drop(sha256)
                raise SessionGoneError
            if now.timestamp() - known.at <= (self._believe if max_age is None else max_age):
                return known.caller
        asked_before = self._unknown.get(sha256)
        if asked_before is not None and now.timestamp() - asked_before < UNKNOWN_SECONDS:
            raise SessionGoneError
        return await asyncio.shield(self._refresh(sha256))

    async def still_holds(self, caller: Caller) -> bool:
        """Whether a caller's session has not ended; while auth is away it is believed."""
        if caller.session_id in self._ended:
            return False
        try:
            await self.resolve(caller.session_sha256)
        except SessionGoneError:
            return False
        except ProblemError:
            return True
        return True

    def forget(self, session_id: str) -> None:
        """Let nobody in by this session from now on: it has ended."""
        self._ended[session_id] = None
        if len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)
        sha256 = self._by_id.get(session_id)
        if sha256 is not None:
            self._drop(sha256)
        for tell in self._on_end:
            tell(session_id)

    def person_changed(self, person_id: str, revision: int) -> None:
        """Ask again for each session of a person whose roles or rights changed."""
        self._newest[person_id] = max(revision, self._newest.get(person_id, 0))
        self._newest.move_to_end(person_id)
        if len(self._newest) > REMEMBERED_ENDS:
            self._newest.popitem(last=False)
        for sha256, known in list(self._known.items()):
            if known.caller.person.id == person_id and known.caller.person.revision < revision:
                self._drop(sha256)

    def session_fact(self, fact: str, data: SessionFact) -> None:
        """Take a fact about a session."""
        if fact == "ended":
            self.forget(data.session_id)

    def forget_all(self) -> None:
        """Events may have been missed: believe nothing."""
        self._known.clear()
        self._by_id.clear()

    def _refresh(self, sha256: str) -> "asyncio.Task[Caller]":
        """Ask auth once however many requests wait for the answer."""
        task = self._asked.get(sha256)
        if task is None:
            task = asyncio.create_task(self._asked_of_auth(sha256), name="resolve session")
            self._asked[sha256] = task
            task.add_done_callback(lambda done: self._answered(sha256, done))
        return task

    def _answered(self, sha256: str, task: "asyncio.Task[Caller]") -> None:
        self._asked.pop(sha256, None)
        if not task.cancelled():
            task.exception()  # a background refresh that failed is tried again by the next request

    async def _asked_of_auth(self, sha256: str) -> Caller:
        try:
            session = await self._ask(RESOLVE_SESSION, ResolveSession(secret_sha256=sha256))
        except ProblemError as error:
            if error.code not in GONE:
                raise
            self._drop(sha256)
            self._unknown[sha256] = self._clock.now().timestamp()
            if len(self._unknown) > REMEMBERED_ENDS:
                self._unknown.popitem(last=False)
            raise SessionGoneError from error
        if session.id in self._ended or session.expires_at <= self._clock.now():
            raise SessionGoneError
        return self._learn(sha256, session)

    def _learn(self, sha256: str, session: Session) -> Caller:
        person = session.person
        signer = self._signer

        def assert_identity() -> str:
            return signer.for_person(person, session.id)

        caller = Caller(
            person=person,
            session_id=session.id,
            session_sha256=sha256,
            expires_at=session.expires_at,
            assert_identity=assert_identity,
        )
        if person.revision < self._newest.get(person.id, 0):
            return (
                caller  # older than an event that came meanwhile: good for this request, not to be believed
            )
        self._known[sha256] = _Known(caller, self._clock.now().timestamp())
        self._known.move_to_end(sha256)
        self._by_id[session.id] = sha256
        if len(self._known) > self._capacity:
            self._drop(next(iter(self._known)))
        return caller

    def _drop(self, sha256: str) -> None:
        known = self._known.pop(sha256, None)
        if known is not None:
            self._by_id.pop(known.caller.session_id, None)


def digest_of(secret: str) -> str:
    """Return what services and databases know a secret by."""
    return hashlib.sha256(secret.encode()).hexdigest()
