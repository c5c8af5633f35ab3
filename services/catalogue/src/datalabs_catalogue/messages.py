"""What the catalogue answers and hears over NATS."""

from datalabs_catalogue.collections import CollectionsMirror
from datalabs_catalogue.errors import OperatorsOnlyError
from datalabs_catalogue.popularity import Popularity
from datalabs_catalogue.searching import Catalogue
from datalabs_catalogue.specifications import Specifications
from datalabs_contracts import rpc
from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.datalabs import (
    CollectionFact,
    Datalab,
    DatalabDetail,
    DatalabIcon,
    DatalabPage,
    DatalabQuery,
    DatalabRef,
    EnvironmentSpecification,
    ImportProblem,
    LaunchSpecification,
    Size,
    SpecificationQuery,
)
from datalabs_contracts.labs import LabFact
from datalabs_contracts.streams import CATALOGUE_POPULARITY
from datalabs_runtime import telemetry
from datalabs_runtime.messaging import Call, Event, Messaging


def serve(messaging: Messaging, *, catalogue: Catalogue, specifications: Specifications) -> None:
    """Answer the catalogue's operations."""

    async def search_datalabs(request: DatalabQuery, _: Call) -> DatalabPage:
        return await catalogue.search(request)

    async def get_datalab(request: DatalabRef, _: Call) -> DatalabDetail:
        return await catalogue.get(request)

    async def get_icon(request: DatalabRef, _: Call) -> DatalabIcon:
        return await catalogue.icon(request)

    async def list_datalabs(request: PageQuery, _: Call) -> Page[Datalab]:
        return await catalogue.list(request)

    async def list_import_problems(request: PageQuery, call: Call) -> Page[ImportProblem]:
        if not call.identity.is_operator:
            raise OperatorsOnlyError
        return await catalogue.import_problems(request)

    async def list_sizes(request: PageQuery, _: Call) -> Page[Size]:
        return await catalogue.list_sizes(request)

    async def get_specification(request: SpecificationQuery, _: Call) -> LaunchSpecification:
        return await specifications.specify(request)

    async def list_environments(request: PageQuery, _: Call) -> Page[EnvironmentSpecification]:
        return await specifications.environments(request)

    messaging.serve(rpc.SEARCH_DATALABS, search_datalabs)
    messaging.serve(rpc.GET_DATALAB, get_datalab)
    messaging.serve(rpc.GET_ICON, get_icon)
    messaging.serve(rpc.LIST_DATALABS, list_datalabs)
    messaging.serve(rpc.LIST_IMPORT_PROBLEMS, list_import_problems)
    messaging.serve(rpc.LIST_SIZES, list_sizes)
    messaging.serve(rpc.GET_SPECIFICATION, get_specification)
    messaging.serve(rpc.LIST_ENVIRONMENTS, list_environments)


def listen(messaging: Messaging, *, popularity: Popularity, collections: CollectionsMirror) -> None:
    """Hear of launches and of collections."""

    async def labs_ready(events: list[Event]) -> None:
        for event in events:
            if isinstance(event.data, LabFact):
                lab = event.data.lab
                with telemetry.continued(event.headers):
                    await popularity.launched(event_id=event.id, slug=lab.datalab, username=lab.owner)

    async def collection_told(event: Event) -> None:
        if isinstance(event.data, CollectionFact):
            await collections.changed(event.data.collection)

    messaging.consume_batches(CATALOGUE_POPULARITY, labs_ready, parsed=True)
    messaging.follow(["events.collection.>"], collection_told, on_reset=collections.refresh)
