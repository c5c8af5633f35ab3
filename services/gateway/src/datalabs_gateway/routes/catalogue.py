"""The catalogue: datalabs, sizes, collections."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.datalabs import (
    Collection,
    CollectionRef,
    DatalabDetail,
    DatalabPage,
    DatalabQuery,
    DatalabRef,
    Kind,
    Size,
)
from datalabs_contracts.ids import CollectionId, Slug
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import GET_COLLECTION, GET_DATALAB, LIST_SIZES
from datalabs_gateway.routes.doors import CallerOf, GatewayOf, SignedInRoute, refusals, reply
from datalabs_gateway.routes.parameters import Cursor, Limit

routes = APIRouter(tags=["catalogue"], route_class=SignedInRoute)

_SLUG = TypeAdapter(Slug)
_COLLECTION_ID = TypeAdapter(CollectionId)
SVG_HEADERS = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
"""An SVG opened by itself is a document; it may style itself and do nothing else."""
Facet = Annotated[list[str] | None, Query(max_length=50)]


@routes.get(
    "/datalabs",
    response_model=DatalabPage,
    summary="Search the catalogue",
    responses=refusals(ProblemCode.INVALID_CURSOR),
)
async def search_datalabs(
    *,
    caller: CallerOf,
    gateway: GatewayOf,
    q: Annotated[str, Query(max_length=200, description="Words; the last one may be a beginning.")] = "",
    kind: Annotated[list[Kind] | None, Query(max_length=10)] = None,
    domain: Facet = None,
    mission: Facet = None,
    keyword: Facet = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Return matching datalabs, best first, with the facets of the whole search.

    Values of one facet are alternatives; different facets are joined.
    """
    query = DatalabQuery(
        q=q,
        kind=kind or [],
        domain=domain or [],
        mission=mission or [],
        keyword=keyword or [],
        limit=limit,
        cursor=cursor,
    )
    return Response(await gateway.catalogue.search(query, caller), media_type="application/json")


@routes.get(
    "/datalabs/{slug}",
    response_model=DatalabDetail,
    summary="One datalab",
    responses=refusals(ProblemCode.UNKNOWN_DATALAB),
)
async def get_datalab(
    caller: CallerOf, gateway: GatewayOf, slug: Annotated[str, Path(examples=["jupyterlab"])]
) -> Response:
    """Return a datalab with its description, citation, versions, sizes and collections."""
    if not _fits(_SLUG, slug):
        raise ProblemError(ProblemCode.UNKNOWN_DATALAB)
    detail = await gateway.ask(GET_DATALAB, DatalabRef(slug=slug), caller)
    return reply(gateway.catalogue.with_readiness(detail))


@routes.get(
    "/datalabs/{slug}/icon",
    response_class=Response,
    summary="A datalab's icon",
    responses={
        **refusals(ProblemCode.UNKNOWN_DATALAB),
        200: {
            "description": "An SVG without scripts.",
            "content": {"image/svg+xml": {"schema": {"type": "string"}}},
        },
    },
)
async def get_datalab_icon(
    request: Request,
    caller: CallerOf,
    gateway: GatewayOf,
    slug: Annotated[str, Path(examples=["jupyterlab"])],
) -> Response:
    """Return the icon of a datalab's card; browsers keep it and ask again by its ETag."""
    if not _fits(_SLUG, slug):
        raise ProblemError(ProblemCode.UNKNOWN_DATALAB)
    icon = await gateway.catalogue.icon(slug, caller)
    headers = {"etag": f'"{icon.digest}"', "cache-control": "private, max-age=3600", **SVG_HEADERS}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(icon.svg.encode(), media_type="image/svg+xml", headers=headers)


@routes.get("/sizes", response_model=Page[Size], summary="Sizes", responses=refusals())
async def list_sizes(
    caller: CallerOf, gateway: GatewayOf, limit: Limit = 200, cursor: Cursor = None
) -> Response:
    """Return the sizes of this site, smallest first."""
    return reply(await gateway.ask(LIST_SIZES, PageQuery(limit=limit, cursor=cursor), caller))


@routes.get(
    "/collections",
    response_model=Page[Collection],
    summary="Collections",
    responses=refusals(ProblemCode.INVALID_CURSOR),
)
async def list_collections(
    caller: CallerOf, gateway: GatewayOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Return the collections of this site by id, without their files."""
    return reply(await gateway.catalogue.collections(PageQuery(limit=limit, cursor=cursor), caller))


@routes.get(
    "/collections/{collection_id}",
    response_model=Collection,
    summary="One collection",
    responses=refusals(ProblemCode.NOT_FOUND),
)
async def get_collection(
    caller: CallerOf, gateway: GatewayOf, collection_id: Annotated[str, Path(examples=["iers"])]
) -> Response:
    """Return a collection with its files and their checksums."""
    if not _fits(_COLLECTION_ID, collection_id):
        raise ProblemError(ProblemCode.NOT_FOUND, "There is no such collection.")
    return reply(await gateway.ask(GET_COLLECTION, CollectionRef(id=collection_id), caller))


def _fits(adapter: TypeAdapter[str], value: str) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True
