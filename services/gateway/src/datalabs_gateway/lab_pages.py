"""What a browser on a lab's origin is told when it cannot go on: pages for people, problem documents for programs."""

from starlette.responses import Response
from starlette.types import Scope

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway import pages
from datalabs_gateway.cookies import LAB_SESSION, LAB_TOKEN, clear_cookie, cookie_in
from datalabs_gateway.errors import LabClosedError
from datalabs_gateway.refusals import problem_response
from datalabs_gateway.site import SiteFacts

ENDED_TEXT = "Your files are safe in your home. Its page says why it ended and starts it again."


class LabPages:
    """Answers that lead from a lab's origin back to the lab's page on the platform."""

    def __init__(self, site: SiteFacts) -> None:
        self._site = site

    def page_of(self, headers: dict[str, str], lab_id: str) -> str:
        """Return the address of the lab's page for a browser that sees the lab under this Host header."""
        return f"{self._site.seen_as(headers.get('host', ''))}/labs/{lab_id}"

    def not_let_in(self, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        """Send a person on to be let in, and tell a program that it is not."""
        if is_navigation(headers):
            response = redirect(self.page_of(headers, lab_id) + "/open")
        else:
            response = problem_response(
                ProblemError(ProblemCode.NOT_SIGNED_IN, "Open the lab from the platform's pages."), scope
            )
        if cookie_in(scope, LAB_SESSION):
            response.headers.append("set-cookie", clear_cookie(LAB_SESSION))
            response.headers.append("set-cookie", clear_cookie(LAB_TOKEN))
        return response

    def used_code(self, headers: dict[str, str], lab_id: str) -> Response:
        """Say that an entry works once."""
        return html(
            403,
            title="This link was used already",
            text="A link into a lab works once and for a minute. Open the lab again from its page.",
            code=ProblemCode.FORBIDDEN,
            link=(self.page_of(headers, lab_id), "Go to the lab's page"),
        )

    def ended(self, headers: dict[str, str], lab_id: str, *, status: int, code: str = "") -> Response:
        """Say that the lab has ended."""
        link = (self.page_of(headers, lab_id), "Go to the lab's page")
        return html(status, title="This lab has ended", text=ENDED_TEXT, code=code, link=link)

    def closed(self, scope: Scope, headers: dict[str, str], closed: LabClosedError) -> Response:
        """Say that the lab does not answer any more, or not yet."""
        code = ProblemCode.LAB_ENDED if closed.ended else ProblemCode.LAB_NOT_READY
        if not is_navigation(headers):
            return problem_response(ProblemError(code), scope)
        if closed.ended:
            return self.ended(headers, closed.lab_id, status=409, code=code)
        return html(
            409,
            title="This lab is not ready yet",
            text="This page asks again by itself and opens the lab as soon as it answers.",
            code=code,
            link=(self.page_of(headers, closed.lab_id), "Watch it start"),
            again_after=2,
        )

    def refusal(self, error: ProblemError, scope: Scope, headers: dict[str, str], lab_id: str) -> Response:
        """Tell a refusal; a person who meets a failure of the platform gets a page that asks again."""
        if error.status < 500 or not is_navigation(headers):  # noqa: PLR2004 - the platform's own failures
            return problem_response(error, scope)
        return html(
            error.status,
            title="The platform is starting again",
            text="Your lab and your files are safe. This page asks again by itself.",
            code=error.code,
            link=(self.page_of(headers, lab_id), "Go to the lab's page"),
            again_after=3,
        )


def is_navigation(headers: dict[str, str]) -> bool:
    """Whether a person looks at the answer: what browsers say of it, else what the client accepts."""
    if headers.get("upgrade"):
        return False
    mode = headers.get("sec-fetch-mode")
    return mode == "navigate" if mode else "text/html" in headers.get("accept", "")


def html(
    status: int,
    *,
    title: str,
    text: str,
    code: str = "",
    link: tuple[str, str] | None = None,
    again_after: int | None = None,
) -> Response:
    """Return one of the gateway's own pages."""
    body = pages.page(title=title, text=text, code=code, link=link, again_after=again_after)
    return Response(body, status_code=status, media_type="text/html; charset=utf-8", headers=pages.HEADERS)


def redirect(url: str) -> Response:
    """Send a browser elsewhere, once."""
    return Response(status_code=302, headers={"location": url, "cache-control": "no-store"})
