"""Plain calls of Nomad's HTTP API, by python-nomad in threads.

Only the requester of python-nomad is used: its endpoints leave out namespaces, quote nothing and send tokens of
idempotency where the server does not look. Errors are told apart by their text: Nomad answers most with 500.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import nomad.api.exceptions
import requests
from nomad.api.base import Requester

from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.errors import JobExistsError, NomadDeniedError, NomadRejectedError
from datalabs_launcher.scheduler import SchedulerAwayError

Document = dict[str, Any]
T = TypeVar("T")

THREADS = 8
CONNECT_SECONDS = 3.0
PAGE = 1000
PASSING = (
    "No cluster leader",
    "No path to region",
    "failed to get conn",
    "connection refused",
    "rpc error: EOF",
    "leadership lost",
    "raft is already shutdown",
    "Unknown node",
    "keyring has not been initialized",
    "timed out",
    "context deadline exceeded",
)
"""Texts of a cluster that is not itself for the moment."""
EXISTS = "Enforcing job modify index 0: job already exists"


class Answer(NamedTuple):
    """A document and Nomad's index when it was true."""

    document: Any
    at: int


class _Requester(Requester):  # type: ignore[misc]
    """The library's requester for any path."""

    def _endpoint_builder(self, *args: str) -> str:
        return "/".join((self.version, *(part for part in args if part)))


class NomadClient:
    """Nomad as the launcher asks it; every call is bounded in time and raises `SchedulerAwayError` when unanswered."""

    def __init__(self, settings: NomadSettings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="nomad")
        self._threads = threading.local()

    def close(self) -> None:
        """Ask no more; what is under way ends by its own time-out."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def register(self, job: Mapping[str, Any]) -> str:
        """Create a job; return what Nomad warns of.

        Raises `JobExistsError`, and `NomadRejectedError` when it can never be.
        """
        body = {"Job": job, "EnforceIndex": True, "JobModifyIndex": 0}
        answer = await self._send("post", "jobs", json=body)
        return str(answer.get("Warnings") or "")

    async def amend(self, job: Mapping[str, Any]) -> None:
        """Change a job that is still as it was read.

        Raises `JobExistsError` or `NomadRejectedError` when it is not.
        """
        body = {"Job": job, "EnforceIndex": True, "JobModifyIndex": job["JobModifyIndex"]}
        await self._send("post", "jobs", json=body)

    async def deregister(self, job_id: str, *, purge: bool) -> None:
        """Stop a job, or forget it as well; one that is not there is no error."""
        await self._send("delete", "job", job_id, params={"purge": str(purge).lower()})

    async def job(self, job_id: str) -> Document | None:
        """Return a job, None when Nomad has not got it."""
        answer = await self._read("job", job_id)
        return answer.document if answer else None

    async def jobs(self, prefix: str) -> tuple[list[Document], int]:
        """Return the stubs of all jobs whose ids begin so, with their Meta, and the index of the first page."""
        return await self._pages("jobs", {"prefix": prefix, "meta": "true"})

    async def allocations_of(self, job_id: str) -> list[Document]:
        """Return the allocations of a job, also of one that was purged."""
        answer = await self._read("job", job_id, "allocations", params={"all": "true"})
        return list(answer.document or []) if answer else []

    async def allocations(self, prefix: str) -> tuple[list[Document], int]:
        """Return all allocations of jobs whose ids begin so."""
        wanted = {"task_states": "true", "resources": "true", "filter": f'JobID matches "^{prefix}"'}
        return await self._pages("allocations", wanted)

    async def other_allocations(self, prefix: str) -> list[Document]:
        """Return what runs beside those jobs, in all namespaces that the token may read."""
        wanted = {
            "resources": "true",
            "namespace": "*",
            "filter": f'JobID not matches "^{prefix}" and (ClientStatus == "running" or ClientStatus == "pending")',
        }
        found, _ = await self._pages("allocations", wanted)
        return found

    async def evaluations_of(self, job_id: str) -> list[Document]:
        """Return the evaluations of a job."""
        answer = await self._read("job", job_id, "evaluations")
        return list(answer.document or []) if answer else []

    async def blocked(self) -> list[Document]:
        """Return the evaluations that wait for capacity."""
        found, _ = await self._pages("evaluations", {"status": "blocked"})
        return found

    # -- secrets ---------------------------------------------------------------------------------------------------

    async def put_secrets(self, job_id: str, items: Mapping[str, str]) -> None:
        """Store what only this job may read; writing the same again changes nothing."""
        path = f"nomad/jobs/{job_id}"
        await self._send("put", "var", *path.split("/"), json={"Path": path, "Items": dict(items)})

    async def secrets(self, job_id: str) -> dict[str, str]:
        """Return what `put_secrets` stored; nothing when there is nothing."""
        answer = await self._read("var", "nomad", "jobs", job_id)
        return dict(answer.document.get("Items") or {}) if answer else {}

    async def secrets_without_job(self, prefix: str, *, older_than: datetime) -> list[str]:
        """Return the ids of jobs that have secrets left and are not there."""
        stored, _ = await self._pages("vars", {"prefix": f"nomad/jobs/{prefix}"})
        old = [one for one in stored if one.get("ModifyTime", 0) / 1e9 < older_than.timestamp()]
        ids = [str(one["Path"]).removeprefix("nomad/jobs/") for one in old]
        if not ids:
            return []
        jobs, _ = await self.jobs(prefix)
        present = {str(job["ID"]) for job in jobs}
        return [job_id for job_id in ids if job_id not in present]

    async def drop_secrets(self, job_id: str) -> None:
        """Destroy what `put_secrets` stored."""
        await self._send("delete", "var", "nomad", "jobs", job_id)

    # -- nodes and allocations -------------------------------------------------------------------------------------

    async def nodes(self) -> list[Document]:
        """Return the stubs of all nodes with their resources."""
        found, _ = await self._pages("nodes", {"resources": "true"})
        return found

    async def node(self, node_id: str) -> Document | None:
        """Return all of one node."""
        answer = await self._read("node", node_id)
        return answer.document if answer else None

    async def signal(self, allocation: str, *, task: str, signal: str) -> None:
        """Send a signal to a task; one that has ended is no error."""
        body = {"Signal": signal, "Task": task}
        try:
            await self._send("post", "client", "allocation", allocation, "signal", json=body)
        except NomadRejectedError:
            return  # it is not running (any more)

    async def stats(self, allocation: str) -> Document | None:
        """Return what an allocation uses; None when its node does not know it."""
        try:
            answer = await self._read("client", "allocation", allocation, "stats")
        except NomadRejectedError:
            return None
        return answer.document if answer else None

    async def log(self, allocation: str, *, task: str, kind: str, size: int) -> bytes:
        """Return the last bytes of a task's `stdout` or `stderr`; nothing when its node has forgotten them."""
        wanted = {"task": task, "type": kind, "plain": "true", "origin": "end", "offset": str(size)}

        def _fetch() -> bytes:
            try:
                return bytes(self._call("get", ("client", "fs", "logs", allocation), params=wanted).content)
            except (nomad.api.exceptions.URLNotFoundNomadException, NomadRejectedError):
                return b""

        return await self._in_thread(_fetch)

    async def index(self) -> int:
        """Return the cluster's index now.

        Raises `SchedulerAwayError` when it has no leader.
        """
        answer = await self._read("jobs", params={"per_page": "1"})
        return answer.at if answer else 0

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _read(self, *path: str, params: Mapping[str, str] | None = None) -> Answer | None:
        def _fetch() -> Answer | None:
            try:
                response = self._call("get", path, params=params)
            except nomad.api.exceptions.URLNotFoundNomadException:
                return None
            return Answer(response.json(), int(response.headers.get("X-Nomad-Index") or 0))

        return await self._in_thread(_fetch)

    async def _send(
        self,
        method: str,
        *path: str,
        json: object = None,
        params: Mapping[str, str] | None = None,
    ) -> Document:
        def _do() -> Document:
            try:
                response = self._call(method, path, json=json, params=params)
            except nomad.api.exceptions.URLNotFoundNomadException:
                return {}
            found = response.json() if response.content else {}
            return found if isinstance(found, dict) else {}

        return await self._in_thread(_do)

    async def _pages(self, path: str, params: Mapping[str, str]) -> tuple[list[Document], int]:
        """Return a whole list, and the index at which its first page was true."""

        def _fetch() -> tuple[list[Document], int]:
            found: list[Document] = []
            token, index = "", 0
            while True:
                wanted = {**params, "per_page": str(PAGE), **({"next_token": token} if token else {})}
                response = self._call("get", (path,), params=wanted)
                index = index or int(response.headers.get("X-Nomad-Index") or 0)
                found += response.json() or []
                token = response.headers.get("X-Nomad-NextToken") or ""
                if not token:
                    return found, index

        return await self._in_thread(_fetch)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except RuntimeError as error:  # the pool is closed
            raise SchedulerAwayError(str(error)) from None

    def _call(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
    ) -> requests.Response:
        wanted = {"namespace": self._settings.namespace, **(params or {})}
        try:
            response = self._requester().request(
                *(quote(part, safe="") for part in path),
                method=method,
                json=json,
                params=wanted,
                timeout=(CONNECT_SECONDS, self._settings.nomad_wait),
            )
        except nomad.api.exceptions.URLNotFoundNomadException:
            raise
        except (
            nomad.api.exceptions.BaseNomadException,
            nomad.api.exceptions.TimeoutNomadException,
            requests.RequestException,
        ) as error:
            raise self._judged(error) from None
        assert isinstance(response, requests.Response)
        return response

    def _requester(self) -> _Requester:
        """Return this thread's own requester: a session belongs to one thread."""
        known: _Requester | None = getattr(self._threads, "requester", None)
        if known is None:
            session = requests.Session()
            session.trust_env = False  # no proxy and no .netrc stands between the launcher and its cluster
            known = self._threads.requester = _Requester(
                address=self._settings.address,
                token=self._token(),
                region=self._settings.region,
                verify=self._settings.verify,
                cert=self._settings.client_certificate,
                session=session,
            )
        return known

    def _token(self) -> str | None:
        try:
            return self._settings.token()
        except OSError as error:
            raise NomadDeniedError(f"The file with Nomad's token cannot be read: {error.strerror}") from None

    def _judged(self, error: Exception) -> Exception:
        """Return what an error of the library means."""
        response = getattr(error, "nomad_resp", None)
        if not isinstance(response, requests.Response):
            said = _plain(str(response or error))
            return SchedulerAwayError(f"Nomad at {self._settings.address} does not answer: {said}")
        text = response.text.strip() or f"HTTP {response.status_code}"
        if response.status_code == requests.codes.forbidden or "Permission denied" in text:
            self._threads.requester = None  # its token may have been changed
            return NomadDeniedError(f"Nomad refuses the launcher's token: {text}")
        if EXISTS in text:
            return JobExistsError(text)
        passing = response.status_code in {429, 502, 503, 504} or any(one in text for one in PASSING)
        if passing:
            return SchedulerAwayError(f"Nomad cannot answer now: {text}")
        return NomadRejectedError(text)


def _plain(text: str) -> str:
    """Return the inmost cause of a failed connection: the libraries wrap it four times over."""
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    if system:
        return system[1]
    return "timed out" if "timed out" in text else text[:300]
