# ruff: noqa: ARG002, ASYNC109 - a fake has the whole signature of what it stands for
"""Catalogue, storage, accounting and auth as far as the launcher asks them, with the quota for real."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from datalabs_contracts.base import Contract, Nothing, Page
from datalabs_contracts.datalabs import (
    EnvironmentSpecification,
    IdlePolicy,
    Kind,
    LaunchSpecification,
    ProcessRuntime,
    Runtime,
    Runtimes,
    Size,
    SpecificationQuery,
)
from datalabs_contracts.labs import Amounts, Limits
from datalabs_contracts.people import Person, PersonQuery, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import (
    GET_LIMITS,
    GET_PERSON,
    GET_SPECIFICATION,
    LIST_ENVIRONMENTS,
    PREPARE_VOLUMES,
    RELEASE,
    RELEASE_VOLUMES,
    RESERVE,
    Operation,
)
from datalabs_contracts.usage import LimitsQuery, Release, Reserve
from datalabs_contracts.volumes import Mount, PreparedVolumes, PrepareVolumes, ReleaseVolumes
from datalabs_runtime.rpc import RpcClient

SIZES = {
    "small": Size(name="small", title="Small", cores=0.5, memory_mib=768),
    "large": Size(name="large", title="Large", cores=8, memory_mib=8192),
    "gpu": Size(name="gpu", title="One GPU", cores=1, memory_mib=1024, gpus=1, gpu_name="nvidia/gpu/L40S"),
    "huge": Size(name="huge", title="Huge", cores=500, memory_mib=999_999),
}
RUNTIMES = Runtimes(
    order=[Runtime.PROCESS], process=ProcessRuntime(requirements=["x", "y"], command=["run", "{port}"])
)


class FakeNeighbours(RpcClient):
    """Answers in the place of the other services; `down` names services that do not answer."""

    def __init__(self, folder: Path, runtimes: Runtimes = RUNTIMES) -> None:
        self.runtimes = runtimes
        self.folder = folder
        self.down: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.reserved: dict[tuple[str, int], Reserve] = {}
        self.max_labs = 100
        self.gone: set[str] = set()
        self.prepared: list[PrepareVolumes] = []
        self.specification: dict[str, Any] = {}
        self.volumes_problem: ProblemError | None = None
        self.before: Callable[[str], Awaitable[None]] | None = None
        self.catalogue = [
            EnvironmentSpecification(datalab="stub", version="1", runtimes=runtimes, source="/content/stub")
        ]

    async def call(  # type: ignore[override]
        self,
        operation: Operation[Any, Any],
        request: Contract,
        *,
        timeout: float = 5.0,
        identity: str | None = None,
        act_for: str | None = None,
    ) -> Any:
        self.calls[operation.name] += 1
        if self.before is not None:
            await self.before(operation.name)
        if operation.service in self.down:
            raise ProblemError(ProblemCode.SERVICE_UNAVAILABLE, f"{operation.service} is away")
        answers: dict[str, Callable[[Any], Contract]] = {
            GET_SPECIFICATION.name: self._specification,
            LIST_ENVIRONMENTS.name: lambda _: Page[EnvironmentSpecification](items=self.catalogue),
            PREPARE_VOLUMES.name: self._prepare,
            RESERVE.name: self._reserve,
            RELEASE.name: self._release,
            RELEASE_VOLUMES.name: self._release_volumes,
            GET_LIMITS.name: self._limits,
            GET_PERSON.name: self._person,
        }
        return answers[operation.name](request)

    def _specification(self, query: SpecificationQuery) -> LaunchSpecification:
        if query.datalab not in {"stub", "report"}:
            raise ProblemError(ProblemCode.UNKNOWN_DATALAB)
        if query.version not in {None, "1"}:
            raise ProblemError(ProblemCode.UNKNOWN_VERSION)
        if (query.size or "small") not in SIZES:
            raise ProblemError(ProblemCode.UNKNOWN_SIZE)
        if "bad" in query.parameters:
            raise ProblemError(ProblemCode.INVALID_PARAMETERS)
        given = {
            "datalab": query.datalab,
            "title": "A stub",
            "version": "1",
            "kind": Kind.BATCH if query.datalab == "report" else Kind.WEB,
            "size": SIZES[query.size or "small"],
            "runtimes": self.runtimes,
            "ready_path": "/api/status",
            "open_path": "/lab?of={parameters[of]}",
            "ready_secret": True,
            "parameters": query.parameters,
            "collections": query.collections or [],
            "source": "/content/stub",
            "idle": IdlePolicy(minutes=0),
            "start_timeout_seconds": 30,
        }
        return LaunchSpecification(**{**given, **self.specification})

    def _prepare(self, request: PrepareVolumes) -> PreparedVolumes:
        if self.volumes_problem is not None:
            raise self.volumes_problem
        self.prepared.append(request)
        if request.lab_id in self.gone:
            if not request.renew:
                raise ProblemError(ProblemCode.VOLUME_UNAVAILABLE)
            self.gone.discard(request.lab_id)
        mounts: list[Mount] = []
        for name in ("home", "scratch"):
            folder = self.folder / request.lab_id / name
            folder.mkdir(parents=True, exist_ok=True)
            mounts.append(Mount(source=str(folder), target=f"/media/{name}", read_only=False))
        return PreparedVolumes(mounts=mounts)

    def _release_volumes(self, request: ReleaseVolumes) -> Nothing:
        self.gone.add(request.lab_id)
        return Nothing()

    def _reserve(self, request: Reserve) -> Limits:
        key = (request.lab_id, request.attempt)
        mine = [held for held in self.reserved.values() if held.owner == request.owner]
        if key not in self.reserved and not request.unlimited and len(mine) >= self.max_labs:
            raise ProblemError(ProblemCode.QUOTA_EXCEEDED, resource="labs", limit={"labs": self.max_labs})
        self.reserved[key] = request
        return self._limits(LimitsQuery(owner=request.owner))

    def _release(self, request: Release) -> Nothing:
        self.reserved.pop((request.lab_id, request.attempt), None)
        return Nothing()

    def _limits(self, query: LimitsQuery) -> Limits:
        mine = [held.amounts for held in self.reserved.values() if held.owner == query.owner]
        used = Amounts(
            labs=len(mine),
            cores=sum(item.cores for item in mine),
            memory_mib=sum(item.memory_mib for item in mine),
        )
        return Limits(used=used, max_labs=self.max_labs)

    def _person(self, query: PersonQuery) -> Person:
        return Person(
            id="p1",
            username=query.username,
            roles=[Role.USER],
            uid=200_001,
            revision=1,
            created_at="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        )
