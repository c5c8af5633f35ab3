"""All that a request may use, wired once; routes receive it and never construct anything."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from datalabs_contracts.base import Nothing
from datalabs_contracts.problems import ProblemError
from datalabs_contracts.rpc import GET_CAPACITY
from datalabs_gateway.asking import Asking
from datalabs_gateway.callers import Caller, Scope
from datalabs_gateway.catalogue import Catalogue
from datalabs_gateway.documents import ContractFiles
from datalabs_gateway.entries import Entries
from datalabs_gateway.labs import Labs
from datalabs_gateway.live import Live
from datalabs_gateway.models import Health, Site
from datalabs_gateway.people import People
from datalabs_gateway.sessions import Sessions
from datalabs_gateway.site import SiteFacts
from datalabs_gateway.telemetry import SpanIntake
from datalabs_runtime.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The wiring of one gateway."""

    clock: Clock
    site: SiteFacts
    ask: Asking
    sessions: Sessions
    people: People
    labs: Labs
    catalogue: Catalogue
    entries: Entries
    live: Live
    telemetry: SpanIntake
    contracts: ContractFiles
    readiness: Callable[[], Awaitable[Health]]

    async def sign_out(self, scope: Scope) -> None:
        """End the session of a request's cookie; its entries to labs and its streams end with it."""
        await self.sessions.end(scope)

    async def describe_site(self, caller: Caller) -> Site:
        """Return what the dashboard must know; without the launcher's part while that is away."""
        runtimes, notices = [], []
        try:
            capacity = await self.ask(GET_CAPACITY, Nothing(), caller, timeout=2.0)
            runtimes, notices = capacity.runtimes, capacity.notices
        except ProblemError:
            notices = ["The launcher is starting again; launches wait for a moment."]
        return Site(
            name=self.site.name,
            version=self.site.version,
            public_url=self.site.public_url,
            labs_domain=self.site.labs_domain,
            runtimes=runtimes,
            notices=notices,
            session_expires_at=caller.expires_at,
        )
