"""The typed client: a platform, and the labs launched on it.

async with Datalabs() as datalabs:
    lab = await datalabs.launch("jupyterlab")
    await lab.ready()
    print(await lab.open())
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic import ValidationError

from datalabs_client.live import LiveEvents
from datalabs_client.origins import OriginTransport, is_local
from datalabs_client.refusals import problem_of
from datalabs_contracts.base import Contract
from datalabs_contracts.datalabs import DatalabDetail, DatalabPage
from datalabs_contracts.labs import Lab, LabState, Logs, Metrics, Preflight, Timeline
from datalabs_contracts.problems import ProblemCode, ProblemError

DEFAULT_URL = "http://localhost:8080"
_TIMEOUT_SECONDS = 30.0
_LOST_EVENT_SECONDS = 15.0
"""A waiter asks again after this long without an event, in case one was lost."""

_LAUNCH_TRIES = 5
_RETRY_SECONDS = 0.5

ModelT = TypeVar("ModelT", bound=Contract)


class LabEndedError(Exception):
    """A lab that was waited for has ended; `lab` tells why."""

    def __init__(self, lab: Lab) -> None:
        lines = "".join(f"\n    {line}" for line in lab.last_lines)
        super().__init__(f"{lab.name} ({lab.id}) has {lab.state}: {lab.reason}. {lab.message}{lines}")
        self.lab = lab


class Datalabs:
    """A platform, as one person. Refusals are raised as `ProblemError` with the platform's code.

    What is not given comes from DATALABS_URL, DATALABS_USERNAME and DATALABS_PASSWORD.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        username: str | None = None,
        password: str | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = (url or os.environ.get("DATALABS_URL") or DEFAULT_URL).rstrip("/")
        self._username = username or os.environ.get("DATALABS_USERNAME")
        self._password = password or os.environ.get("DATALABS_PASSWORD")
        self._origin = OriginTransport(transport)
        self._inner = transport
        parts = urlsplit(self.url)
        self._trust_environment = not is_local(parts.hostname or "")
        self.http = httpx2.AsyncClient(
            base_url=self.url,
            transport=self._origin,
            timeout=_TIMEOUT_SECONDS,
            headers={"origin": f"{parts.scheme}://{parts.netloc}", "accept": "application/json"},
            trust_env=self._trust_environment,
        )
        self._live = LiveEvents(self.http)

    async def __aenter__(self) -> Self:
        """Sign in, if a user name is known."""
        if self._username is not None:
            try:
                await self.sign_in(self._username, self._password or "")
            except BaseException:
                await self.aclose()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections; labs go on."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections."""
        await self._live.aclose()
        await self.http.aclose()

    async def sign_in(self, username: str, password: str) -> None:
        """Start a session."""
        await self.call("POST", "/session", {"username": username, "password": password})

    async def me(self) -> dict[str, Any]:
        """Return who one is, with roles and limits."""
        found: dict[str, Any] = await self.call("GET", "/me")
        return found

    async def datalabs(self, q: str = "", **facets: str) -> DatalabPage:
        """Search the catalogue."""
        return DatalabPage.model_validate(await self.call("GET", "/datalabs", params={"q": q, **facets}))

    async def datalab(self, slug: str) -> DatalabDetail:
        """Return one entry of the catalogue."""
        return DatalabDetail.model_validate(await self.call("GET", f"/datalabs/{slug}"))

    async def preflight(self, datalab: str, **choices: Any) -> Preflight:
        """Ask what a launch would meet."""
        body = {"datalab": datalab, **choices}
        return Preflight.model_validate(await self.call("POST", "/labs:preflight", body))

    async def launch(
        self, datalab: str, *, idempotency_key: str | None = None, **choices: Any
    ) -> "LaunchedLab":
        """Launch a lab; `choices` are version, size, name, parameters, volumes, collections.

        The request carries a key, so that a lost answer is asked for again and never makes a second lab.
        """
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        body = {"datalab": datalab, **choices}
        for attempt in range(_LAUNCH_TRIES):
            try:
                answer = await self.call("POST", "/labs", body, headers=headers)
            except httpx2.TransportError:
                if attempt + 1 == _LAUNCH_TRIES:
                    raise
            except ProblemError as problem:
                away = problem.code in {ProblemCode.SERVICE_UNAVAILABLE, ProblemCode.DEADLINE_EXCEEDED}
                if not away or attempt + 1 == _LAUNCH_TRIES:
                    raise
            else:
                return LaunchedLab(self, Lab.model_validate(answer))
            await asyncio.sleep(_RETRY_SECONDS * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def lab(self, lab_id: str) -> "LaunchedLab":
        """Return a lab by its id."""
        return LaunchedLab(self, Lab.model_validate(await self.call("GET", f"/labs/{lab_id}")))

    async def labs(self) -> list["LaunchedLab"]:
        """Return all labs of the caller, newest first."""
        return [LaunchedLab(self, Lab.model_validate(item)) async for item in self.items("/labs")]

    async def items(self, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = await self.call("GET", path, params={**params, **({"cursor": cursor} if cursor else {})})
            for item in page["items"]:
                yield item
            cursor = page.get("next")
            if cursor is None:
                return

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Make a call under `/api/v1` and return the answer's JSON.

        Raises `ProblemError` for a refusal.
        """
        response = await self.http.request(
            method, f"/api/v1{path}", json=body, params=params or {}, headers=headers or {}
        )
        if response.is_error:
            raise problem_of(response)
        return response.json() if response.content else None

    async def watch(self, lab_id: str) -> AsyncIterator[Lab]:
        """Yield a lab now and whenever it changes, each revision once, the newest first."""
        newest: Lab | None = None
        changes = self._live.watch(lab_id)
        waiting: asyncio.Future[dict[str, Any] | None] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(changes))
                await asyncio.wait({waiting}, timeout=_LOST_EVENT_SECONDS)
                event = None
                if waiting.done():
                    event, waiting = waiting.result(), None
                lab = _lab_in(event) or Lab.model_validate(await self.call("GET", f"/labs/{lab_id}"))
                if newest is None or lab.revision > newest.revision:
                    newest = lab
                    yield lab
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await changes.aclose()  # type: ignore[attr-defined]

    @asynccontextmanager
    async def visit(self, url: str) -> AsyncIterator[httpx2.AsyncClient]:
        """Enter a lab by the URL of `open()` and yield a client of its origin, with the lab's cookies.

        It has a browser's manners: redirects are followed, and it names its own origin.
        """
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        async with httpx2.AsyncClient(
            base_url=origin,
            transport=OriginTransport(self._inner),
            timeout=_TIMEOUT_SECONDS,
            headers={"origin": origin},
            follow_redirects=True,
            trust_env=self._trust_environment,
        ) as browser:
            entered = await browser.get(url)
            if entered.is_error:
                raise problem_of(entered)
            yield browser


class LaunchedLab:
    """A lab: what is known of it (`lab`), and what can be done with it."""

    def __init__(self, platform: Datalabs, lab: Lab) -> None:
        self._platform = platform
        self.lab = lab

    @property
    def id(self) -> str:
        """Its id."""
        return self.lab.id

    async def refresh(self) -> Lab:
        """Read it anew."""
        return self._take(await self._platform.call("GET", self._path()))

    async def until(self, condition: Callable[[Lab], bool], *, timeout: float = 300.0) -> Lab:  # noqa: ASYNC109
        """Follow the lab until a condition holds.

        Raises `TimeoutError`.
        """
        async with asyncio.timeout(timeout):
            changes = self._platform.watch(self.id)
            try:
                async for lab in changes:
                    self.lab = lab
                    if condition(lab):
                        return lab
            finally:
                await changes.aclose()  # type: ignore[attr-defined]
        raise AssertionError("a watch never ends by itself")

    async def ready(self, *, timeout: float = 300.0) -> Lab:  # noqa: ASYNC109
        """Wait until the lab can be used.

        Raises `LabEndedError` when it ends instead, and `TimeoutError`.
        """
        lab = await self.until(lambda lab: lab.state is LabState.READY or lab.state.ended, timeout=timeout)
        if lab.state.ended:
            raise LabEndedError(lab)
        return lab

    async def ended(self, *, timeout: float = 300.0) -> Lab:  # noqa: ASYNC109
        """Wait until nothing of the lab runs any more."""
        return await self.until(lambda lab: lab.state.ended, timeout=timeout)

    async def open(self) -> str:
        """Return a URL that lets its bearer in, once."""
        answer = await self._platform.call("POST", self._path("open"))
        return str(answer["url"])

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Open the lab and yield a client of its origin."""
        async with self._platform.visit(await self.open()) as browser:
            yield browser

    async def stop(self) -> Lab:
        """End it."""
        return self._take(await self._platform.call("POST", self._path("stop")))

    async def restart(self, **choices: Any) -> Lab:
        """Run it again, as a new attempt."""
        return self._take(await self._platform.call("POST", self._path("restart"), choices))

    async def extend(self, seconds: float | None = None) -> Lab:
        """Move its expiry."""
        body = {} if seconds is None else {"seconds": seconds}
        return self._take(await self._platform.call("POST", self._path("extend"), body))

    async def delete(self) -> None:
        """Stop it, then hide it."""
        await self._platform.call("DELETE", self._path())

    async def timeline(self, attempt: int | None = None) -> Timeline:
        """Return the phases of a launch."""
        return await self._read("timeline", Timeline, attempt=attempt)

    async def logs(self, attempt: int | None = None) -> Logs:
        """Return the last log lines."""
        return await self._read("logs", Logs, attempt=attempt)

    async def metrics(self) -> Metrics:
        """Return the recent measurements."""
        return await self._read("metrics", Metrics)

    async def _read(self, what: str, model: type[ModelT], **params: Any) -> ModelT:
        given = {name: value for name, value in params.items() if value is not None}
        return model.model_validate(await self._platform.call("GET", self._path(what), params=given))

    def _path(self, action: str = "") -> str:
        return f"/labs/{self.id}" + (f"/{action}" if action else "")

    def _take(self, document: Any) -> Lab:
        lab = Lab.model_validate(document)
        if lab.revision >= self.lab.revision:
            self.lab = lab
        return self.lab


def _lab_in(event: dict[str, Any] | None) -> Lab | None:
    """Return the lab that an event carries, None when it must be read."""
    if event is None:
        return None
    try:
        return Lab.model_validate(event["data"]["lab"])
    except (KeyError, TypeError, ValidationError):
        return None
