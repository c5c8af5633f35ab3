"""The dashboard's pages and files at the platform's own address."""

from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.built_files import ASSETS, INDEX, Build, BuiltFiles, file_response, not_built
from datalabs_gateway.desktop import FOLDER as DESKTOP
from datalabs_gateway.refusals import problem_response

NEVER_PAGES = ("/api/", "/edge/", "/health/", "/.datalabs/")


class Dashboard:
    """Serves the built dashboard."""

    def __init__(self, folder: Path) -> None:
        # The desktop page is built beside it and belongs to labs' origins only.
        self._files = BuiltFiles(folder, without=frozenset({DESKTOP}))
        self._policy: tuple[tuple[int, int], str] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._response(scope)
        except ProblemError as error:
            response = problem_response(error, scope)
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        path: str = scope["path"]
        if scope["method"] not in {"GET", "HEAD"}:
            raise ProblemError(ProblemCode.METHOD_NOT_ALLOWED, allow="GET, HEAD")
        if path.startswith(NEVER_PAGES):
            raise ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this address.")
        built = self._files.in_memory
        is_page = not path.startswith(ASSETS) and "." not in path.rpartition("/")[2]
        if built is None or is_page or path == INDEX:
            built = await self._files.current()
        if built is None:
            return not_built()
        file = built.files.get(INDEX if is_page else path)
        if file is None:
            raise ProblemError(ProblemCode.NOT_FOUND, "The dashboard has no such file.")
        return file_response(scope, file, self._policy_of(built))

    def _policy_of(self, built: Build) -> str:
        if self._policy is None or self._policy[0] != built.stamp:
            self._policy = (built.stamp, _policy(built))
        return self._policy[1]


def _policy(built: Build) -> str:
    """Return the Content-Security-Policy of the dashboard: its own assets only, and scripts of its page by hash.

    Styles may be inline because component libraries set them from scripts.
    """
    return (
        f"default-src 'self'; script-src 'self'{built.script_hashes()}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-src 'none'; frame-ancestors 'none'"
    )
