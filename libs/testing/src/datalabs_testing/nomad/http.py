"""What all routes of the emulated agent share: errors, blocking reads, pages, namespaces and faults."""

import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from datalabs_testing.nomad import filters
from datalabs_testing.nomad.behaviour import seconds_of
from datalabs_testing.nomad.quick_json import dumps
from datalabs_testing.nomad.state import Key, State, listed

if TYPE_CHECKING:
    from datalabs_testing.nomad.fake import FakeNomad

LONGEST_WAIT = 300.0
USUAL_WAIT = 300.0
MANAGEMENT = "management"
READS = frozenset({"GET", "HEAD"})


class NomadError(Exception):
    """An answer that is an error: status and plain text, and the index of what was looked for in vain."""

    def __init__(self, status: int, text: str, *, index: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.index = index

    def answer(self) -> web.Response:
        """Return it as a response."""
        answer = web.Response(status=self.status, text=self.text)
        if self.index is not None:
            answer.headers.update(headers_of(self.index))
        return answer


@dataclass(frozen=True)
class Page:
    """One row of a list: what filters see, its text, its token."""

    thing: Callable[[], Mapping[str, Any]]
    text: Callable[[], str]
    token: str


class Routes:
    """A group of routes."""

    def __init__(self, fake: "FakeNomad") -> None:
        self.fake = fake

    @property
    def state(self) -> State:
        """The tables as they are now: a reset of the cluster makes others."""
        return self.fake.state

    def register(self, router: web.UrlDispatcher) -> None:
        """Serve this group's paths."""
        raise NotImplementedError

    def add(
        self,
        router: web.UrlDispatcher,
        methods: str,
        path: str,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        capability: str = "",
    ) -> None:
        """Serve a path; other methods of it get 405."""

        async def serve(request: web.Request) -> web.StreamResponse:
            if request.method not in methods.split():
                raise NomadError(405, "Invalid method")
            self._authorise(request, capability)
            return await handler(request)

        router.add_route("*", path, serve)

    def _authorise(self, request: web.Request, capability: str) -> None:
        tokens = self.fake.tokens
        if tokens is None or not capability:
            return
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        token = request.headers.get("X-Nomad-Token") or bearer
        if not token:
            raise NomadError(403, "Permission denied")
        if token not in tokens:
            raise NomadError(403, "ACL token not found")
        if not {MANAGEMENT, capability} & tokens[token]:
            raise NomadError(403, "Permission denied")

    # -- reading -------------------------------------------------------------------------------------------------------

    async def blocking(self, request: web.Request, key: Key, *tables: str) -> int:
        """Wait as a blocking query does; return the index of the answer."""
        after = number(request, "index")
        if after:
            wait = seconds_of(request.query.get("wait", "")) or USUAL_WAIT
            deadline = self.state.timers.now() + min(wait, LONGEST_WAIT)
            while self.state.index_of(*tables) <= after:
                left = deadline - self.state.timers.now()
                if left <= 0:
                    break
                await self.state.wait(key, left)
        return self.state.index_of(*tables)

    def namespaces(self, request: web.Request) -> frozenset[str]:
        """Return the namespaces that are asked for; empty: all."""
        name = request.query.get("namespace") or "default"
        return frozenset() if name == "*" else frozenset({name})

    def namespace(self, request: web.Request) -> str:
        """Return the one namespace that is asked for."""
        return request.query.get("namespace") or "default"

    def listing(self, request: web.Request, index: int, rows: Iterable[Page]) -> web.Response:
        """Answer with a list: filtered, and in pages when asked for."""
        expression = request.query.get("filter", "")
        limit = number(request, "per_page")
        token = request.query.get("next_token", "")
        try:
            test = filters.parsed(expression) if expression else None
            found: list[str] = []
            following = ""
            skipping = bool(token)
            for row in rows:
                if skipping and row.token != token:
                    continue
                skipping = False
                if test is not None and not test(row.thing()):
                    continue
                if limit and len(found) == limit:
                    following = row.token
                    break
                found.append(row.text())
        except filters.FilterError as error:
            raise NomadError(400, f"failed to read result page: {error}") from None
        answer = read(listed(found), index)
        if following:
            answer.headers["X-Nomad-NextToken"] = following
        return answer


def headers_of(index: int) -> dict[str, str]:
    """Return the headers of each read."""
    return {"X-Nomad-Index": str(index), "X-Nomad-KnownLeader": "true", "X-Nomad-LastContact": "0"}


def read(body: object, index: int) -> web.Response:
    """Answer a read."""
    text = body if isinstance(body, str) else dumps(body)
    return web.Response(text=text, content_type="application/json", headers=headers_of(index))


def written(body: Mapping[str, Any], index: int) -> web.Response:
    """Answer a write."""
    more = {"Index": index, "KnownLeader": False, "LastContact": 0, "NextToken": ""}
    return web.Response(
        text=dumps({**body, **more}),
        content_type="application/json",
        headers={"X-Nomad-Index": str(index)},
    )


def number(request: web.Request, name: str) -> int:
    """Return an integer of the query; 0 when it is not there."""
    text = request.query.get(name, "0") or "0"
    try:
        return int(text)
    except ValueError:
        raise NomadError(400, f"Invalid {name}: {text}") from None


async def body_of(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that came."""
    text = await request.text()
    try:
        found = json.loads(text)
    except ValueError:
        raise NomadError(400, "unexpected EOF" if text.strip()[:1] in {"{", ""} else "invalid JSON") from None
    if not isinstance(found, dict):
        raise NomadError(400, "json: cannot unmarshal into an object")
    return found


def frame(lines: bytes, file: str) -> str:
    """Return log output in Nomad's frames."""
    data = base64.b64encode(lines).decode()
    return dumps({"Data": data, "File": file, "Offset": len(lines)})
