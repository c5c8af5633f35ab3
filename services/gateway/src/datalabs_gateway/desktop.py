"""The page on a desktop lab's own origin that shows its screen: noVNC in a build of its own."""

from pathlib import Path

from starlette.responses import Response
from starlette.types import Scope

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.built_files import ASSETS, INDEX, BuiltFiles, file_response, not_built

FOLDER = "desktop"
"""Where the build lies within the dashboard's."""


class DesktopPage:
    """Serves the page and its files below `/.datalabs/`."""

    def __init__(self, dashboard_folder: Path) -> None:
        self._files = BuiltFiles(dashboard_folder / FOLDER)

    async def page(self, scope: Scope, *, origin: str) -> Response:
        """Return the page, for the lab whose origin this is."""
        built = await self._files.current()
        return not_built() if built is None else file_response(scope, built.files[INDEX], _policy(origin))

    async def asset(self, scope: Scope, name: str) -> Response:
        """Return a file of the page. Raises ProblemError `not_found`."""
        built = self._files.in_memory or await self._files.current()
        file = built.files.get(ASSETS + name) if built is not None else None
        if file is None:
            raise ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this address.")
        return file_response(scope, file, "default-src 'none'; frame-ancestors 'none'")


def _policy(origin: str) -> str:
    """Return the page's Content-Security-Policy: its own scripts, its own WebSocket, and nothing else.

    Pictures of the screen come as `data:` (JPEG rectangles, the pointer's shape). Browsers differ in whether 'self'
    covers WebSockets, so the address is named.
    """
    socket = "ws" + origin.removeprefix("http")
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
        f"connect-src 'self' {socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
