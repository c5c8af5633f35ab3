"""Images of container labs: are they here, fetch them if not, and what must be known of each before labs run from it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from datalabs_launcher.containers.engine import Engine, EngineRefusedError
from datalabs_launcher.scheduler import EnvironmentProgress

NAMES = ("passwd", "group")


@dataclass(frozen=True)
class Image:
    """An image that is here: its id, the ports that it says it listens on, its users, how it wants to be asked to end."""

    id: str
    exposed: tuple[int, ...]
    files: dict[str, bytes | None] = field(repr=False, default_factory=dict)


class Images:
    """What is here; what was looked at once is remembered by the image's id, under which it never changes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, Image] = {}
        self._looking = asyncio.Lock()

    async def find(self, name: str) -> Image | None:
        """Return an image that is here."""
        found = await self._engine.image(name)
        if found is None:
            return None
        known = self._known.get(found["Id"])
        return known or await self._look(found)

    async def _look(self, found: dict[str, Any]) -> Image:
        async with self._looking:
            known = self._known.get(found["Id"])
            if known is None:
                files = {name: await self._engine.file_of(found["Id"], f"/etc/{name}") for name in NAMES}
                known = Image(id=found["Id"], exposed=ports_of(found), files=files)
                self._known[known.id] = known
            return known

    async def prepare(self, name: str) -> AsyncIterator[EnvironmentProgress]:
        """Have an image here; tells of progress, and of the cause when it cannot be had."""
        try:
            if await self.find(name) is None:
                yield EnvironmentProgress(ready=False, fraction=0.0, text=f"Fetching the image {name}")
                layers = Layers()
                async for message in self._engine.pull(name):
                    layers.take(message)
                    yield EnvironmentProgress(
                        ready=False, fraction=layers.fraction, text=f"Fetching the image {name}"
                    )
                await self.find(name)
        except EngineRefusedError as refused:
            text = f"The image {name} cannot be had: {refused}"
            yield EnvironmentProgress(ready=False, failed=True, fraction=0.0, text=text)
            return
        yield EnvironmentProgress(ready=True, fraction=1.0, text="Ready")


class Layers:
    """How far a pull is, from the engine's messages about each layer; unpacking counts like the transfer."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[float, float]] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Take one message in."""
        layer, status = str(message.get("id", "")), str(message.get("status", ""))
        detail = message.get("progressDetail") or {}
        before = self._parts.get(layer, (0.0, 0.0))
        part = detail["current"] / detail["total"] if detail.get("total") else None
        if status == "Pulling fs layer":
            self._parts[layer] = before
        elif status == "Downloading" and part is not None:
            self._parts[layer] = (part, 0.0)
        elif status == "Download complete":
            self._parts[layer] = (1.0, before[1])
        elif status == "Extracting" and part is not None:
            self._parts[layer] = (1.0, part)
        elif status in {"Pull complete", "Already exists"}:
            self._parts[layer] = (1.0, 1.0)

    @property
    def fraction(self) -> float:
        """How far it is, from 0 to 1."""
        if not self._parts:
            return 0.0
        return sum(fetched + unpacked for fetched, unpacked in self._parts.values()) / (2 * len(self._parts))


def ports_of(image: dict[str, Any]) -> tuple[int, ...]:
    """Return the TCP ports that an image says it listens on."""
    exposed = (image.get("Config") or {}).get("ExposedPorts") or {}
    return tuple(
        sorted(
            int(port) for port, _, kind in (name.partition("/") for name in exposed) if kind in {"tcp", ""}
        )
    )
