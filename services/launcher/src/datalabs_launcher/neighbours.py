"""What the launcher asks of other services, in its own words."""

from dataclasses import dataclass

from datalabs_contracts.base import PageQuery
from datalabs_contracts.datalabs import EnvironmentSpecification, LaunchSpecification, SpecificationQuery
from datalabs_contracts.labs import Amounts, LaunchBody, Limits
from datalabs_contracts.rpc import (
    GET_LIMITS,
    GET_SPECIFICATION,
    LIST_ENVIRONMENTS,
    PREPARE_VOLUMES,
    RELEASE,
    RELEASE_VOLUMES,
    RESERVE,
)
from datalabs_contracts.usage import LimitsQuery, Release, Reserve
from datalabs_contracts.volumes import PreparedVolumes, PrepareVolumes, ReleaseVolumes
from datalabs_launcher.models import LabRecord
from datalabs_runtime.clock import Clock
from datalabs_runtime.rpc import RpcClient

SPECIFICATION_SECONDS = 3.0
"""How long an answer of the catalogue is believed."""
SPECIFICATIONS_KEPT = 256
PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What one attempt reserves."""

    lab_id: str
    attempt: int
    owner: str
    unlimited: bool
    cores: float
    memory_mib: int

    @classmethod
    def of(cls, record: LabRecord) -> "Holding":
        """Return what the record's attempt reserves."""
        return cls(
            lab_id=record.id,
            attempt=record.attempt,
            owner=record.owner,
            unlimited=record.unlimited,
            cores=record.cores,
            memory_mib=record.memory_mib,
        )


class Neighbours:
    """Catalogue, storage and accounting; every method raises `ProblemError` as the service answered."""

    def __init__(self, *, rpc: RpcClient, clock: Clock) -> None:
        self._rpc = rpc
        self._clock = clock
        self._specifications: dict[str, tuple[float, LaunchSpecification]] = {}

    async def specification(self, body: LaunchBody) -> LaunchSpecification:
        """Return what a launch with these choices needs."""
        query = SpecificationQuery(
            datalab=body.datalab,
            version=body.version,
            size=body.size,
            parameters=body.parameters,
            collections=body.collections,
        )
        key, now = query.model_dump_json(), self._clock.now().timestamp()
        known = self._specifications.get(key)
        if known is not None and now - known[0] < SPECIFICATION_SECONDS:
            return known[1]
        answer = await self._rpc.call(GET_SPECIFICATION, query)
        if len(self._specifications) >= SPECIFICATIONS_KEPT:
            self._specifications.clear()
        self._specifications[key] = (now, answer)
        return answer

    async def environments(self) -> list[EnvironmentSpecification]:
        """Return all versions of the catalogue."""
        found: list[EnvironmentSpecification] = []
        cursor: str | None = None
        while True:
            page = await self._rpc.call(LIST_ENVIRONMENTS, PageQuery(limit=PAGE, cursor=cursor), timeout=10)
            found += page.items
            cursor = page.next
            if cursor is None:
                return found

    async def prepare_volumes(self, record: LabRecord, *, seconds: float) -> PreparedVolumes:
        """Return the volumes of an attempt, made ready."""
        specification = record.specification
        request = PrepareVolumes(
            lab_id=record.id,
            attempt=record.attempt,
            owner=record.owner,
            uid=record.owner_uid,
            scratch_mib=record.disk_mib,
            volumes=record.volumes,
            collections=record.collections,
            starters=specification.starters,
            starters_name=record.datalab if specification.starters else "",
            renew=record.files_released,
        )
        return await self._rpc.call(PREPARE_VOLUMES, request, timeout=seconds, act_for=record.owner)

    async def release_volumes(self, lab_id: str) -> None:
        """Remove a lab's scratch."""
        await self._rpc.call(RELEASE_VOLUMES, ReleaseVolumes(lab_id=lab_id))

    async def reserve(self, holding: Holding) -> Limits:
        """Reserve for one attempt."""
        request = Reserve(
            lab_id=holding.lab_id,
            attempt=holding.attempt,
            owner=holding.owner,
            unlimited=holding.unlimited,
            amounts=Amounts(labs=1, cores=holding.cores, memory_mib=holding.memory_mib),
        )
        return await self._rpc.call(RESERVE, request, act_for=holding.owner)

    async def release(self, holding: Holding) -> None:
        """Free what one attempt reserved."""
        request = Release(lab_id=holding.lab_id, attempt=holding.attempt)
        await self._rpc.call(RELEASE, request, act_for=holding.owner)

    async def limits(self, owner: str, *, unlimited: bool) -> Limits:
        """Return what a person may have and has."""
        return await self._rpc.call(GET_LIMITS, LimitsQuery(owner=owner, unlimited=unlimited), act_for=owner)
