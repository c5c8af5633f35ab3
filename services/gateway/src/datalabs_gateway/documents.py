"""The generated contracts as they are served."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ContractFiles:
    """OpenAPI and AsyncAPI documents: the committed files, and OpenAPI made anew where it was not shipped."""

    def __init__(self, *, folder: Path, make_openapi: Callable[[], dict[str, Any]]) -> None:
        self._folder = folder
        self._make_openapi = make_openapi
        self._openapi: bytes | None = None
        self._asyncapi: bytes | None = None

    async def openapi(self) -> bytes:
        """Return the OpenAPI document."""
        if self._openapi is None:
            shipped = await asyncio.to_thread(_read, self._folder / "openapi.gen.json")
            self._openapi = (
                shipped
                or json.dumps(await asyncio.to_thread(self._make_openapi), ensure_ascii=False).encode()
            )
        return self._openapi

    async def asyncapi(self) -> bytes | None:
        """Return the AsyncAPI document, None when this installation ships none."""
        if self._asyncapi is None:
            self._asyncapi = await asyncio.to_thread(_read, self._folder / "asyncapi.gen.json")
        return self._asyncapi


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None
