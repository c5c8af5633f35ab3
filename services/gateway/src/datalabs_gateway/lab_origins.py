"""What the gateway answers on labs' own origins: the edge's question, and our one path `/.datalabs/`.

The edge sends nothing else of a lab's origin here, so a host that names a lab and a path below `/edge/authorize` can
only be its question: on the platform's host that path does not exist.
"""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from datalabs_contracts.problems import ProblemError
from datalabs_gateway.cookies import LAB_SESSION, cookie_in
from datalabs_gateway.doorstep import Doorstep, with_token
from datalabs_gateway.entries import Entries
from datalabs_gateway.errors import LabClosedError, NoEntryError
from datalabs_gateway.lab_pages import LabPages

AUTHORISE = "/edge/authorize"
HEADERS = (b"host", b"accept", b"upgrade", b"origin", b"sec-fetch-mode", b"sec-fetch-dest", b"sec-fetch-site")


class LabOrigins:
    """Answers for requests whose host is a lab's."""

    def __init__(self, *, entries: Entries, pages: LabPages, doorstep: Doorstep) -> None:
        self._entries = entries
        self._pages = pages
        self._doorstep = doorstep

    async def __call__(self, scope: Scope, receive: Receive, send: Send, lab_id: str) -> None:
        """Answer one request; bodies are never read."""
        headers = {key.decode(): value.decode("latin-1") for key, value in scope["headers"] if key in HEADERS}
        try:
            if scope["path"].startswith(AUTHORISE):
                response = await self._authorise(scope, lab_id)
            else:
                response = await self._doorstep.answer(scope, headers, lab_id)
        except NoEntryError:
            response = self._pages.not_let_in(scope, headers, lab_id)
        except LabClosedError as closed:
            response = self._pages.closed(scope, headers, closed)
        except ProblemError as error:
            response = self._pages.refusal(error, scope, headers, lab_id)
        await response(scope, receive, send)

    async def _authorise(self, scope: Scope, lab_id: str) -> Response:
        passed = await self._entries.authorise(lab_id, cookie_in(scope, LAB_SESSION))
        response = Response(
            status_code=200,
            headers={
                "x-lab-upstream": f"{passed.route.host}:{passed.route.port}",
                "x-lab-id": lab_id,
                "x-lab-attempt": str(passed.route.attempt),
            },
        )
        with_token(response, passed)
        return response
