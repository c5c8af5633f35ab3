"""Our one path on a lab's origin, `/.datalabs/`: the entrance, the desktop's page, and what open pages may ask.

A lab's own pages share the origin, so what is here may be used by them, too: reading the lab's state harms nobody,
and only a desktop, whose origin has no pages but ours, may be extended from here.
"""

import contextlib
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from datalabs_contracts.datalabs import Kind
from datalabs_contracts.labs import ExtendLab, Lab
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import EXTEND_LAB
from datalabs_gateway.callers import Caller
from datalabs_gateway.cookies import LAB_SESSION, LAB_TOKEN, cookie_in, set_cookie
from datalabs_gateway.desktop import DesktopPage
from datalabs_gateway.entries import OPEN_STATES, Entries, Pass
from datalabs_gateway.errors import CodeUnusableError, LabClosedError, NoEntryError
from datalabs_gateway.lab_pages import LabPages, redirect
from datalabs_gateway.labs import Labs
from datalabs_gateway.limits import Buckets
from datalabs_gateway.live import Live
from datalabs_gateway.models import LabDoor
from datalabs_gateway.site import SiteFacts

OURS = "/.datalabs/"
ASSETS = "assets/"
LONGEST_CODE = 200
SAFE = frozenset({"GET", "HEAD"})
QUESTIONS_PER_SECOND = 5.0
"""What the pages of one lab may ask; they are told what happens and ask after a break only."""
QUESTIONS_AT_ONCE = 30

Headers = dict[str, str]
Answer = Callable[[Scope, Headers, str], Awaitable[Response]]


class Doorstep:
    """Answers `/.datalabs/…` on labs' origins."""

    def __init__(
        self,
        *,
        entries: Entries,
        labs: Labs,
        live: Live,
        desktop: DesktopPage,
        pages: LabPages,
        site: SiteFacts,
    ) -> None:
        self._entries = entries
        self._labs = labs
        self._live = live
        self._desktop = desktop
        self._pages = pages
        self._site = site
        self._questions = Buckets(rate=QUESTIONS_PER_SECOND, burst=QUESTIONS_AT_ONCE)
        self._reads: dict[str, Answer] = {
            "enter": self._enter,
            "ended": self._ended,
            "desktop": self._desktop_page,
            "lab": self._lab,
            "events": self._events,
        }

    async def answer(self, scope: Scope, headers: Headers, lab_id: str) -> Response:
        """Answer one request.

        Raises NoEntryError, LabClosedError, ProblemError.
        """
        path: str = scope["path"]
        if not path.startswith(OURS):
            raise ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this address.")
        name = path.removeprefix(OURS)
        if name == "extend":
            return await self._extend(scope, headers, lab_id)
        if scope["method"] not in SAFE:
            raise ProblemError(ProblemCode.METHOD_NOT_ALLOWED, allow="GET, HEAD")
        if name.startswith(ASSETS):
            return await self._desktop.asset(scope, name.removeprefix(ASSETS))
        read = self._reads.get(name)
        if read is None:
            raise ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this address.")
        return await read(scope, headers, lab_id)

    async def _enter(self, scope: Scope, headers: Headers, lab_id: str) -> Response:
        code = parse_qs(scope["query_string"].decode("latin-1")).get("code", [""])[0]
        if not code or len(code) > LONGEST_CODE:
            return await self._used_code(scope, headers, lab_id)
        try:
            entered = await self._entries.enter(lab_id, code)
        except CodeUnusableError:
            return await self._used_code(scope, headers, lab_id)
        response = redirect(entered.passed.route.open_path)
        response.headers.append(
            "set-cookie", set_cookie(LAB_SESSION, entered.secret, seconds=entered.seconds)
        )
        with_token(response, entered.passed)
        return response

    async def _used_code(self, scope: Scope, headers: Headers, lab_id: str) -> Response:
        """Send whoever is in already on to the lab: a reload of the entry is no mistake."""
        try:
            passed = await self._entries.authorise(lab_id, cookie_in(scope, LAB_SESSION))
        except NoEntryError:
            return self._pages.used_code(headers, lab_id)
        response = redirect(passed.route.open_path)
        with_token(response, passed)
        return response

    async def _ended(self, _: Scope, headers: Headers, lab_id: str) -> Response:
        return self._pages.ended(headers, lab_id, status=404)

    async def _desktop_page(self, scope: Scope, headers: Headers, lab_id: str) -> Response:
        """Return the desktop's page with a fresh token, so that its WebSocket takes the fast path at once."""
        passed = await self._entries.authorise(lab_id, cookie_in(scope, LAB_SESSION))
        origin = f"{self._site.labs_scheme}://{headers.get('host', '')}"
        response = await self._desktop.page(scope, origin=origin)
        with_token(response, passed)
        return response

    async def _lab(self, scope: Scope, headers: Headers, lab_id: str) -> Response:
        """Tell the lab; while it can be reached, with a fresh token: a restart has given it another address."""
        lab, _ = await self._asked(scope, lab_id)
        response = self._told(lab, headers)
        if lab.state in OPEN_STATES:
            with contextlib.suppress(LabClosedError):
                with_token(response, await self._entries.authorise(lab_id, cookie_in(scope, LAB_SESSION)))
        return response

    async def _events(self, scope: Scope, _: Headers, lab_id: str) -> Response:
        lab, caller = await self._asked(scope, lab_id)
        return StreamingResponse(
            self._live.stream_of_lab(caller, lab.id),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _extend(self, scope: Scope, headers: Headers, lab_id: str) -> Response:
        if scope["method"] != "POST":
            raise ProblemError(ProblemCode.METHOD_NOT_ALLOWED, allow="POST")
        if headers.get("origin") != f"{self._site.labs_scheme}://{headers.get('host', '')}":
            raise ProblemError(ProblemCode.FOREIGN_ORIGIN)
        lab, caller = await self._asked(scope, lab_id)
        if lab.kind is not Kind.DESKTOP:
            raise ProblemError(ProblemCode.FORBIDDEN, "Extend this lab from its page on the platform.")
        changed = await self._labs.change(EXTEND_LAB, ExtendLab(lab_id=lab.id), caller)
        return self._told(changed, headers)

    async def _asked(self, scope: Scope, lab_id: str) -> tuple[Lab, Caller]:
        self._questions.take(lab_id)
        return await self._entries.whose(lab_id, cookie_in(scope, LAB_SESSION))

    def _told(self, lab: Lab, headers: Headers) -> Response:
        door = LabDoor(lab=lab, page=self._pages.page_of(headers, lab.id))
        return Response(
            door.model_dump_json().encode(),
            media_type="application/json",
            headers={"cache-control": "no-store"},
        )


def with_token(response: Response, passed: Pass) -> None:
    """Give the browser the token of the edge's fast path."""
    response.headers.append("set-cookie", set_cookie(LAB_TOKEN, passed.token, seconds=passed.seconds))
