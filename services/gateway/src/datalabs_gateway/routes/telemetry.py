"""Spans from browsers and labs on their way to the observer."""

from fastapi import APIRouter, Request, Response

from datalabs_contracts.problems import ProblemCode
from datalabs_gateway.routes.doors import gateway_of, refusals

routes = APIRouter(tags=["telemetry"])

_DOCUMENTED_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object", "description": "OTLP/HTTP JSON."}},
            "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@routes.post(
    "/telemetry",
    status_code=202,
    response_class=Response,
    summary="Send spans",
    openapi_extra=_DOCUMENTED_BODY,
    responses=refusals(
        ProblemCode.NOT_SIGNED_IN,
        ProblemCode.FOREIGN_ORIGIN,
        ProblemCode.BODY_TOO_LARGE,
        ProblemCode.INVALID_REQUEST,
        signed_in=False,
    ),
)
async def send_spans(request: Request) -> Response:
    """Take OTLP spans of the dashboard or of a lab (with its token); what cannot be delivered is dropped."""
    await gateway_of(request).telemetry.take(request)
    return Response(status_code=202)


@routes.post("/telemetry/v1/traces", status_code=200, include_in_schema=False)
async def send_spans_as_exporter(request: Request) -> Response:
    """Take spans where OTLP exporters put them below an endpoint; they expect 200 and an empty answer."""
    accepted = await gateway_of(request).telemetry.take(request)
    return Response(b"{}" if accepted == "application/json" else b"", media_type=accepted)
