"""Who may enter which lab: one-time codes, lab sessions, and the token of the edge's fast path (DESIGN section 7)."""

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from datalabs_contracts.datalabs import Kind
from datalabs_contracts.labs import Lab, LabRef, LabState, Route
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import GET_ROUTE
from datalabs_gateway.asking import Asking
from datalabs_gateway.callers import Caller
from datalabs_gateway.errors import CodeUnusableError, LabClosedError, NoEntryError, SessionGoneError
from datalabs_gateway.lab_tokens import LabTokens
from datalabs_gateway.labs import Labs
from datalabs_gateway.limits import Buckets
from datalabs_gateway.models import EntryCode, LabSession
from datalabs_gateway.sessions import Sessions, digest_of
from datalabs_gateway.site import SiteFacts
from datalabs_gateway.store import Store
from datalabs_runtime.clock import Clock

OPEN_STATES = frozenset({LabState.READY, LabState.UNREACHABLE})
"""An unreachable lab may well answer: only its machine is not heard of."""
CACHED_ENTRIES = 10_000
OPENINGS_PER_SECOND = 1.0
OPENINGS_AT_ONCE = 20
"""A browser that keeps no cookie on the lab's origin is sent here again and again; this ends the circle."""
ROUTE_PATIENCE = 3.0
"""Seconds that the edge's question may wait for the launcher; the edge itself gives up after five."""
ROUTE_GONE = frozenset({ProblemCode.LAB_NOT_READY, ProblemCode.LAB_ENDED, ProblemCode.NOT_FOUND})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What lets a request on: where the lab answers, and the token that saves the next question."""

    route: Route
    token: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A browser that was let in: its lab session's secret and how long that holds."""

    secret: str
    seconds: float
    passed: Pass


class Entries:
    """Opens labs, lets browsers in and answers the edge."""

    def __init__(
        self,
        *,
        ask: Asking,
        sessions: Sessions,
        labs: Labs,
        tokens: LabTokens,
        store: Store,
        site: SiteFacts,
        clock: Clock,
        used: Callable[[str], Awaitable[None]],
        code_seconds: float,
        session_seconds: float,
        check_seconds: float,
        token_seconds: int,
    ) -> None:
        self._ask = ask
        self._sessions = sessions
        self._labs = labs
        self._tokens = tokens
        self._store = store
        self._site = site
        self._clock = clock
        self._used = used
        self._code_life = timedelta(seconds=code_seconds)
        self._session_life = timedelta(seconds=session_seconds)
        self._check_seconds = check_seconds
        self._token_seconds = token_seconds
        self._openings = Buckets(rate=OPENINGS_PER_SECOND, burst=OPENINGS_AT_ONCE)
        self._known: OrderedDict[str, LabSession] = OrderedDict()
        self._routes: OrderedDict[str, Route] = OrderedDict()

    async def open(self, lab: Lab, caller: Caller, host: str) -> str:
        """Return an address on the lab's origin that lets the caller's browser in once.

        Raises ProblemError `lab_not_ready`, `lab_ended`, or `forbidden` for anybody but the owner: to enter a lab is to
        act with its owner's files.
        """
        if lab.owner != caller.username:
            raise ProblemError(ProblemCode.FORBIDDEN, "Only its owner may enter a lab.")
        if lab.state.ended or lab.state is LabState.STOPPING:
            raise ProblemError(ProblemCode.LAB_ENDED)
        if lab.kind is Kind.BATCH:
            raise ProblemError(ProblemCode.LAB_NOT_READY, "A batch lab has no page to open.")
        if lab.state not in OPEN_STATES:
            raise ProblemError(ProblemCode.LAB_NOT_READY)
        self._openings.take(f"{caller.session_id} {lab.id}")
        secret = secrets.token_urlsafe(32)
        code = EntryCode(
            code_sha256=digest_of(secret),
            lab_id=lab.id,
            username=caller.username,
            session_id=caller.session_id,
            session_sha256=caller.session_sha256,
            expires_at=self._clock.now() + self._code_life,
        )
        await asyncio.gather(self._store.add_code(code), self._route_ahead(lab, caller))
        return f"{self._site.lab_origin(lab.id, host)}/.datalabs/enter?code={secret}"

    async def enter(self, lab_id: str, code: str) -> Entered:
        """Turn a one-time code into a lab session.

        Raises CodeUnusableError, LabClosedError, ProblemError when a service is away.
        """
        now = self._clock.now()
        used = await self._store.use_code(digest_of(code), lab_id, now)
        if used is None:
            raise CodeUnusableError
        try:
            caller = await self._sessions.resolve(used.session_sha256, max_age=self._check_seconds)
        except SessionGoneError as error:
            raise CodeUnusableError from error
        secret = secrets.token_urlsafe(32)
        entry = LabSession(
            secret_sha256=digest_of(secret),
            lab_id=lab_id,
            username=used.username,
            session_id=used.session_id,
            session_sha256=used.session_sha256,
            expires_at=min(now + self._session_life, caller.expires_at),
        )
        passed, _ = await asyncio.gather(self._pass(entry, caller), self._store.add_lab_session(entry, now))
        self._remember(entry)
        return Entered(secret=secret, seconds=(entry.expires_at - now).total_seconds(), passed=passed)

    async def authorise(self, lab_id: str, secret: str | None) -> Pass:
        """Answer the edge, whether the browser with this lab session may go on to this lab, and where that is.

        Raises NoEntryError, LabClosedError, ProblemError when a service is away.
        """
        entry = await self._entry(secret)
        if entry is None or entry.lab_id != lab_id:
            raise NoEntryError
        passed = await self._pass(entry, await self._caller(entry))
        await self._used(lab_id)
        return passed

    async def whose(self, lab_id: str, secret: str | None) -> tuple[Lab, Caller]:
        """Return the lab that a browser was let in to, in whatever state it is now, and who let it in.

        Raises NoEntryError, LabClosedError when the lab is no more, ProblemError when a service is away.
        """
        entry = await self._entry(secret)
        if entry is None or entry.lab_id != lab_id:
            raise NoEntryError
        return await self._theirs(entry, await self._caller(entry))

    async def forget_session(self, session_id: str) -> None:
        """Remove the entries of a platform session that has ended."""
        self.drop_session(session_id)
        await self._store.forget_session(session_id)

    def drop_session(self, session_id: str) -> None:
        """Forget a session's entries in memory, at once."""
        for sha256, entry in list(self._known.items()):
            if entry.session_id == session_id:
                del self._known[sha256]

    def lab_changed(self, lab: Lab) -> None:
        """Drop the address of a lab that moved on."""
        route = self._routes.get(lab.id)
        if route is not None and (lab.state not in OPEN_STATES or lab.attempt != route.attempt):
            del self._routes[lab.id]

    def forget_all(self) -> None:
        """Events may have been missed: look everything up again."""
        self._known.clear()
        self._routes.clear()

    async def prune(self) -> None:
        """Remove what has run out."""
        await self._store.prune(self._clock.now(), timedelta(hours=24))

    async def _entry(self, secret: str | None) -> LabSession | None:
        if not secret:
            return None
        sha256, now = digest_of(secret), self._clock.now()
        entry = self._known.get(sha256)
        if entry is None:
            entry = await self._store.lab_session(sha256, now)
            if entry is not None:
                self._remember(entry)
        return entry if entry is not None and entry.expires_at > now else None

    def _remember(self, entry: LabSession) -> None:
        self._known[entry.secret_sha256] = entry
        if len(self._known) > CACHED_ENTRIES:
            self._known.popitem(last=False)

    async def _caller(self, entry: LabSession) -> Caller:
        try:
            return await self._sessions.resolve(entry.session_sha256, max_age=self._check_seconds)
        except SessionGoneError as error:
            self._known.pop(entry.secret_sha256, None)
            raise NoEntryError from error

    async def _theirs(self, entry: LabSession, caller: Caller) -> tuple[Lab, Caller]:
        try:
            lab = await self._labs.find(entry.lab_id, caller)
        except ProblemError as error:
            if error.code is ProblemCode.NOT_FOUND:
                raise LabClosedError(entry.lab_id, ended=True) from error
            raise
        if lab.owner != entry.username or caller.username != entry.username or not caller.person.active:
            raise NoEntryError
        return lab, caller

    async def _pass(self, entry: LabSession, caller: Caller) -> Pass:
        lab, _ = await self._theirs(entry, caller)
        if lab.state not in OPEN_STATES:
            raise LabClosedError(lab.id, ended=lab.state.ended or lab.state is LabState.STOPPING)
        route = await self._route(lab, caller)
        token = self._tokens.make(
            host=self._site.lab_host(lab.id), username=entry.username, route=route, until=entry.expires_at
        )
        return Pass(route=route, token=token, seconds=self._token_seconds)

    async def _route_ahead(self, lab: Lab, caller: Caller) -> None:
        """Know the address by the time the browser enters; what stands in the way is told then."""
        with contextlib.suppress(LabClosedError, ProblemError):
            await self._route(lab, caller)

    async def _route(self, lab: Lab, caller: Caller) -> Route:
        route = self._routes.get(lab.id)
        if route is not None and route.attempt == lab.attempt:
            return route
        try:
            route = await self._ask(GET_ROUTE, LabRef(lab_id=lab.id), caller, timeout=ROUTE_PATIENCE)
        except ProblemError as error:
            if error.code in ROUTE_GONE:
                raise LabClosedError(lab.id, ended=error.code is not ProblemCode.LAB_NOT_READY) from error
            raise
        newest = self._labs.in_memory(lab.id, caller)
        if newest is not None and newest.lab.attempt == route.attempt and newest.lab.state in OPEN_STATES:
            self._routes[lab.id] = route
            if len(self._routes) > CACHED_ENTRIES:
                self._routes.popitem(last=False)
        return route
