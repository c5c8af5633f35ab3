"""The reads that pages poll and reload, answered from memory in a few dictionary look-ups.

Whatever is out of the ordinary (no session in memory, a lab that is not there, a query) goes the usual way through the
routes, which give the same answers.
"""

from collections.abc import Mapping
from time import perf_counter

from prometheus_client import Counter, Histogram
from starlette.types import Scope, Send

from datalabs_contracts.ids import LAB_ID_LENGTH
from datalabs_contracts.problems import ProblemError
from datalabs_gateway.callers import Caller
from datalabs_gateway.catalogue import Catalogue
from datalabs_gateway.cookies import SESSION, find_cookie
from datalabs_gateway.labs import Labs
from datalabs_gateway.limits import Buckets
from datalabs_gateway.sessions import Sessions

LABS = "/api/v1/labs"
LAB = "/api/v1/labs/"
DATALABS = "/api/v1/datalabs"
FAST = Counter("datalabs_http_fast_reads_total", "Reads answered from memory.", ["route"])
DURATION = Histogram(
    "datalabs_http_fast_read_seconds", "Time of a read from memory.", buckets=(0.0001, 0.0005, 0.002)
)


class FastReads:
    """Answers `GET /labs/{id}`, `GET /labs` and the catalogue's front page where memory suffices."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        labs: Labs,
        catalogue: Catalogue,
        reads: Buckets,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self._sessions = sessions
        self._labs = labs
        self._catalogue = catalogue
        self._reads = reads
        self._headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *headers]
        self._counts = {route: FAST.labels(route) for route in (LABS, LAB, DATALABS)}

    async def answer(self, scope: Scope, send: Send, headers: Mapping[bytes, bytes]) -> bool:
        """Answer a GET if memory suffices; return whether it was answered."""
        path: str = scope["path"]
        if scope["query_string"] or b"authorization" in headers:
            return False
        if path not in {DATALABS, LABS} and not (
            path.startswith(LAB) and len(path) == len(LAB) + LAB_ID_LENGTH
        ):
            return False
        begun = perf_counter()
        secret = find_cookie((headers.get(b"cookie", b""),), SESSION)
        caller = self._sessions.believed(secret) if secret else None
        if caller is None:
            return False
        route, body = self._body(path, caller)
        if body is None:
            return False
        if not caller.is_operator:
            try:
                self._reads.take(caller.username)
            except ProblemError:
                return False
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*self._headers, (b"content-length", str(len(body)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": body})
        self._counts[route].inc()
        DURATION.observe(perf_counter() - begun)
        return True

    def _body(self, path: str, caller: Caller) -> tuple[str, bytes | None]:
        if path == DATALABS:
            return DATALABS, self._catalogue.front_page()
        if path == LABS:
            return LABS, self._labs.own_page(caller)
        entry = self._labs.in_memory(path[len(LAB) :], caller)
        return LAB, None if entry is None else entry.json()
