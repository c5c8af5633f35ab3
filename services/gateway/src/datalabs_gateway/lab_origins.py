"""What the gateway answers on labs' own origins: the edge's question, and our one path `/.datalabs/`.

The edge sends nothing else of a lab's origin here, so a host that names a lab and a path below `/edge/authorize` can
only be its question: on the platform's host that path does not exist.
"""

from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway import pages
from datalabs_gateway.cookies import LAB_SESSION, LAB_TOKEN, clear_cookie, cookie_in, set_cookie
from datalabs_gateway.entries import Entries, Pass
from datalabs_gateway.errors import CodeUnusableError, LabClosedError, NoEntryError
from datalabs_gateway.refusals import problem_response
from datalabs_gateway.site import SiteFacts

AUTHORISE = "/edge/authorize"
OURS = "/.datalabs/"
LONGEST_CODE = 200
SAFE = frozenset({"GET", "HEAD"})


class LabOrigins:
    """Answers for requests whose host is a lab's."""

    def __init__(self, *, entries: Entries, site: SiteFacts) -> None:
        self._entries = entries
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send, lab_id: str) -> None:
        """Answer one request; bodies are never read."""
        path: str = scope["path"]
        headers = _headers(scope)
        try:
            if path.startswith(AUTHORISE):
                response = await self._authorise(scope, headers, lab_id)
            else:
                response = await self._ours(scope, headers, lab_id)
        except ProblemError as error:
            response = self._refusal(error, scope, headers, lab_id)
        await response(scope, receive, send)

    async def _authorise(self, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        try:
            passed = await self._entries.authorise(lab_id, cookie_in(scope, LAB_SESSION))
        except NoEntryError:
            return self._not_let_in(scope, headers, lab_id)
        except LabClosedError as closed:
            return self._closed(scope, headers, closed)
        response = Response(
            status_code=200,
            headers={
                "x-lab-upstream": f"{passed.route.host}:{passed.route.port}",
                "x-lab-id": lab_id,
                "x-lab-attempt": str(passed.route.attempt),
            },
        )
        _with_token(response, passed)
        return response

    async def _ours(self, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        path: str = scope["path"]
        if path.startswith(OURS) and scope["method"] not in SAFE:
            raise ProblemError(ProblemCode.METHOD_NOT_ALLOWED, allow="GET, HEAD")
        name = path.removeprefix(OURS)
        if name == "enter":
            return await self._enter(scope, headers, lab_id)
        if name == "ended":
            return _html(
                404,
                title="This lab has ended",
                text="Your files are safe in your home. Its page says why it ended and starts it again.",
                link=(self._lab_page(headers, lab_id), "Go to the lab's page"),
            )
        raise ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this address.")

    async def _enter(self, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        code = parse_qs(scope["query_string"].decode("latin-1")).get("code", [""])[0]
        if not code or len(code) > LONGEST_CODE:
            return await self._used_code(scope, headers, lab_id)
        try:
            entered = await self._entries.enter(lab_id, code)
        except CodeUnusableError:
            return await self._used_code(scope, headers, lab_id)
        except NoEntryError:
            return self._not_let_in(scope, headers, lab_id)
        except LabClosedError as closed:
            return self._closed(scope, headers, closed)
        response = _redirect(entered.passed.route.open_path)
        response.headers.append(
            "set-cookie", set_cookie(LAB_SESSION, entered.secret, seconds=entered.seconds)
        )
        _with_token(response, entered.passed)
        return response

    async def _used_code(self, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        """Send whoever is in already on to the lab: a reload of the entry is no mistake."""
        try:
            passed = await self._entries.authorise(lab_id, cookie_in(scope, LAB_SESSION))
        except NoEntryError:
            return _html(
                403,
                title="This link was used already",
                text="A link into a lab works once and for a minute. Open the lab again from its page.",
                code=ProblemCode.FORBIDDEN,
                link=(self._lab_page(headers, lab_id), "Go to the lab's page"),
            )
        except LabClosedError as closed:
            return self._closed(scope, headers, closed)
        response = _redirect(passed.route.open_path)
        _with_token(response, passed)
        return response

    def _not_let_in(self, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        if _is_navigation(headers):
            response = _redirect(self._lab_page(headers, lab_id) + "/open")
        else:
            response = problem_response(
                ProblemError(ProblemCode.NOT_SIGNED_IN, "Open the lab from the platform's pages."), scope
            )
        if cookie_in(scope, LAB_SESSION):
            response.headers.append("set-cookie", clear_cookie(LAB_SESSION))
            response.headers.append("set-cookie", clear_cookie(LAB_TOKEN))
        return response

    def _closed(self, scope: Scope, headers: dict[str, str], closed: LabClosedError) -> Response:
        code = ProblemCode.LAB_ENDED if closed.ended else ProblemCode.LAB_NOT_READY
        if not _is_navigation(headers):
            return problem_response(ProblemError(code), scope)
        if closed.ended:
            return _html(
                409,
                title="This lab has ended",
                text="Your files are safe in your home. Its page says why it ended and starts it again.",
                code=code,
                link=(self._lab_page(headers, closed.lab_id), "Go to the lab's page"),
            )
        return _html(
            409,
            title="This lab is not ready yet",
            text="This page asks again by itself and opens the lab as soon as it answers.",
            code=code,
            link=(self._lab_page(headers, closed.lab_id), "Watch it start"),
            again_after=2,
        )

    def _refusal(self, error: ProblemError, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        if error.status < 500 or not _is_navigation(headers):  # noqa: PLR2004 - the platform's own failures
            return problem_response(error, scope)
        return _html(
            error.status,
            title="The platform is starting again",
            text="Your lab and your files are safe. This page asks again by itself.",
            code=error.code,
            link=(self._lab_page(headers, lab_id), "Go to the lab's page"),
            again_after=3,
        )

    def _lab_page(self, headers: dict[str, str], lab_id: str) -> str:
        return f"{self._site.seen_as(headers.get('host', ''))}/labs/{lab_id}"


def _headers(scope: Scope) -> dict[str, str]:
    wanted = (b"host", b"accept", b"upgrade", b"sec-fetch-mode", b"sec-fetch-dest")
    return {key.decode(): value.decode("latin-1") for key, value in scope["headers"] if key in wanted}


def _is_navigation(headers: dict[str, str]) -> bool:
    """Whether a person looks at the answer: what browsers say of it, else what the client accepts."""
    if headers.get("upgrade"):
        return False
    mode = headers.get("sec-fetch-mode")
    return mode == "navigate" if mode else "text/html" in headers.get("accept", "")


def _html(
    status: int,
    *,
    title: str,
    text: str,
    code: str = "",
    link: tuple[str, str] | None = None,
    again_after: int | None = None,
) -> Response:
    body = pages.page(title=title, text=text, code=code, link=link, again_after=again_after)
    return Response(body, status_code=status, media_type="text/html; charset=utf-8", headers=pages.HEADERS)


def _redirect(url: str) -> Response:
    return Response(status_code=302, headers={"location": url, "cache-control": "no-store"})


def _with_token(response: Response, passed: Pass) -> None:
    response.headers.append("set-cookie", set_cookie(LAB_TOKEN, passed.token, seconds=passed.seconds))
