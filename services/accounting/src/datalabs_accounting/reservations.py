"""Reservations against limits: taken in one step at launch, freed at the end whatever happens."""

from datetime import timedelta

import structlog

from datalabs_accounting.errors import NobodysUsageError, OperatorsOnlyError, QuotaExceededError
from datalabs_accounting.models import UNLIMITED, Holding, Maxima, Override, Reservation
from datalabs_accounting.store import Store
from datalabs_accounting.store.rush import held_of, hold, lock, owner_word
from datalabs_contracts.base import Nothing
from datalabs_contracts.labs import Amounts, LabsQuery, LabState, Limits
from datalabs_contracts.rpc import LIST_LABS
from datalabs_contracts.usage import LimitsBody, LimitsQuery, PersonLimits, Release, Reserve, SetLimits
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database, of_one
from datalabs_runtime.identity import Identity
from datalabs_runtime.rpc import RpcClient
from datalabs_runtime.together import Together

log = structlog.get_logger()

PAGE = 200
ROUNDING = 1e-9
"""Sums of fractions of cores are not exact: 0.1 + 0.2 must fit into 0.3."""


class Reservations:
    """Holds amounts of people's limits for their labs."""

    def __init__(
        self, *, database: Database, clock: Clock, rpc: RpcClient, default: Maxima, grace: timedelta
    ) -> None:
        self._database = database
        self._clock = clock
        self._rpc = rpc
        self._default = default
        self._grace = grace
        self._direct = database.direct()
        self._together = Together(self._reserve_all, apart=of_one)

    async def reserve(self, request: Reserve) -> Limits:
        """Reserve for one attempt; return the limits with it counted. Again: the same answer, nothing more held.

        A burst of one person's launches has to be counted one after the other; in one transaction that costs as much
        as a single launch.

        Raises `QuotaExceededError`.
        """
        return await self._together(request)

    async def _reserve_all(self, requests: list[Reserve]) -> list[Limits | Exception]:
        keys = [Reservation(lab_id=one.lab_id, attempt=one.attempt) for one in requests]
        answers: list[Limits | Exception] = []
        keep: dict[Reservation, Reserve] = {}
        owners = {one.owner for one in requests}
        # In a pipeline: what is asked before an answer is needed travels together, two round trips in all.
        async with self._direct.connection() as connection, connection.pipeline(), connection.transaction():
            # Other people's launches go on side by side; operators have no limits and wait for nobody.
            await lock(connection, {owner_word(one.owner) for one in requests if not one.unlimited})
            holdings, held = await held_of(connection, owners, keys)
            used = {owner: holding.used for owner, holding in holdings.items()}
            for key, request in zip(keys, requests, strict=True):
                owner = request.owner
                maxima = UNLIMITED if request.unlimited else holdings[owner].override.over(self._default)
                if key not in held:
                    try:
                        _check(used[owner], request.amounts, maxima)
                    except QuotaExceededError as refusal:
                        answers.append(refusal)
                        continue
                    used[owner] = _sum(used[owner], request.amounts)
                    held.add(key)
                keep[key] = request
                answers.append(maxima.limits(used[owner]))
            await hold(connection, list(keep.values()), at=self._clock.now())
        return answers

    async def release(self, request: Release) -> Nothing:
        """Free the reservation of one attempt, if there is one."""
        async with self._database.transaction() as session:
            await Store(session).release(request.lab_id, request.attempt)
        return Nothing()

    async def limits(self, query: LimitsQuery, *, caller: Identity) -> Limits:
        """Say what a person may have and has. Raises `NobodysUsageError` for somebody else's."""
        if not caller.may_see(query.owner):
            raise NobodysUsageError
        holding = await self._holding(query.owner)
        return (UNLIMITED if query.unlimited else holding.override.over(self._default)).limits(holding.used)

    async def person_limits(self, query: LimitsQuery, *, caller: Identity) -> PersonLimits:
        """Say what a person may have and what of it is their own. Raises `OperatorsOnlyError`."""
        _check_operator(caller)
        holding = await self._holding(query.owner)
        return self._told(query.owner, holding, unlimited=query.unlimited)

    async def set_limits(self, request: SetLimits, *, caller: Identity) -> PersonLimits:
        """Set what a person may have. Labs that run beyond it go on; only launches meet it.

        Raises `OperatorsOnlyError`.
        """
        _check_operator(caller)
        own = Override(
            unlimited=request.own.unlimited,
            labs=request.own.max_labs,
            cores=request.own.max_cores,
            memory_mib=request.own.max_memory_mib,
        )
        async with self._database.transaction() as session:
            store = Store(session)
            await store.lock(owner_word(request.owner))
            await store.set_override(request.owner, own)
        holding = await self._holding(request.owner)
        log.info("limits.set", owner=request.owner, by=caller.username, **request.own.model_dump())
        return self._told(request.owner, holding)

    async def _holding(self, owner: str) -> Holding:
        async with self._direct.connection() as connection:
            holdings, _ = await held_of(connection, [owner], [])
        return holdings[owner]

    def _told(self, owner: str, holding: Holding, *, unlimited: bool = False) -> PersonLimits:
        own, used = holding.override, holding.used
        return PersonLimits(
            username=owner,
            own=LimitsBody(
                unlimited=own.unlimited,
                max_labs=own.labs,
                max_cores=own.cores,
                max_memory_mib=own.memory_mib,
            ),
            site=self._default.limits(used),
            limits=(UNLIMITED if unlimited else own.over(self._default)).limits(used),
        )

    async def reconcile(self) -> int:
        """Free reservations whose lab lives no more, or waits and so holds nothing; return how many.

        An answer from the launcher that is not whole frees nothing. A reservation confirmed within the grace stays:
        it is made before its lab is stored, and kept while a waiting lab is admitted.
        """
        before = self._clock.now() - self._grace
        async with self._database.reading() as session:
            old = await Store(session).reservations(confirmed_before=before)
        if not old:
            return 0
        gone = old - await self._living()
        async with self._database.transaction() as session:
            freed = await Store(session).release_all(gone, confirmed_before=before)
        if freed:
            log.warning("reservation.freed", labs=sorted(one.lab_id for one in gone))
        return freed

    async def _living(self) -> set[Reservation]:
        living: set[Reservation] = set()
        cursor: str | None = None
        while True:
            page = await self._rpc.call(
                LIST_LABS, LabsQuery(include_ended=False, limit=PAGE, cursor=cursor), timeout=10.0
            )
            living |= {
                Reservation(lab_id=lab.id, attempt=lab.attempt)
                for lab in page.items
                if not lab.state.ended and lab.state is not LabState.QUEUED
            }
            cursor = page.next
            if cursor is None:
                return living


def _check_operator(caller: Identity) -> None:
    if not caller.is_operator:
        raise OperatorsOnlyError


def _check(used: Amounts, asked: Amounts, maxima: Maxima) -> None:
    """Raise `QuotaExceededError` with a plain sentence on the first limit that the sum would pass."""
    limit = {"labs": maxima.labs, "cores": maxima.cores, "memory_mib": maxima.memory_mib}
    resource = detail = None
    if maxima.labs is not None and used.labs + asked.labs > maxima.labs:
        resource = "labs"
        detail = f"You have {used.labs} of at most {maxima.labs} labs. Stop one to launch another."
    elif maxima.cores is not None and used.cores + asked.cores > maxima.cores + ROUNDING:
        resource = "cores"
        detail = (
            f"Your labs have {used.cores:g} of at most {maxima.cores:g} cores and this one takes "
            f"{asked.cores:g}. Stop one or choose a smaller size."
        )
    elif maxima.memory_mib is not None and used.memory_mib + asked.memory_mib > maxima.memory_mib:
        resource = "memory_mib"
        detail = (
            f"Your labs have {_gib(used.memory_mib)} of at most {_gib(maxima.memory_mib)} memory and this one "
            f"takes {_gib(asked.memory_mib)}. Stop one or choose a smaller size."
        )
    if resource is not None and detail is not None:
        raise QuotaExceededError(detail, resource=resource, used=used, asked=asked, limit=limit)


def _sum(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(
        labs=one.labs + other.labs,
        cores=one.cores + other.cores,
        memory_mib=one.memory_mib + other.memory_mib,
    )


def _gib(mib: int) -> str:
    return f"{mib / 1024:.3g} GiB"
