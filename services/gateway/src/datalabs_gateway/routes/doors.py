"""What every route shares: the checks that come before validation, refusals in the documents, replies as bytes."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from datalabs_contracts.ids import ALPHABET, LAB_ID_LENGTH
from datalabs_contracts.labs import Lab
from datalabs_contracts.problems import CATALOGUE, PROBLEM_MEDIA_TYPE, ProblemCode, ProblemError
from datalabs_gateway.callers import Caller, caller_in
from datalabs_gateway.gateway import Gateway

SCOPE_LAB = "datalabs.lab"
SCOPE_GATEWAY = "datalabs.gateway"

USUAL_REFUSALS = (ProblemCode.NOT_SIGNED_IN, ProblemCode.SESSION_EXPIRED, ProblemCode.RATE_LIMITED)
AWAY_REFUSALS = (ProblemCode.SERVICE_UNAVAILABLE, ProblemCode.DEADLINE_EXCEEDED)


class SignedInRoute(APIRoute):
    """A route whose caller is known and whose lab is found and theirs before the body is looked at.

    FastAPI parses a body before it resolves dependencies, so a stranger would learn by a 422 what should be a 404.
    """

    operators_only = False

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the usual handler."""
        handle = super().get_route_handler()
        finds_lab = "{lab_id}" in self.path_format
        operators_only = self.operators_only

        async def checked(request: Request) -> Response:
            caller = caller_in(request.scope)
            if operators_only and not caller.is_operator:
                raise ProblemError(ProblemCode.FORBIDDEN, "Only operators may do this.")
            if finds_lab:
                gateway = gateway_of(request)
                request.scope[SCOPE_LAB] = await gateway.labs.find(request.path_params["lab_id"], caller)
            return await handle(request)

        return checked


class OperatorRoute(SignedInRoute):
    """A route for operators."""

    operators_only = True


def gateway_of(request: Request) -> Gateway:
    """Return the wiring that this request was given."""
    gateway: Gateway = request.scope[SCOPE_GATEWAY]
    return gateway


async def _caller(request: Request) -> Caller:
    return caller_in(request.scope)


async def _gateway(request: Request) -> Gateway:
    return gateway_of(request)


async def _found_lab(
    request: Request,
    lab_id: Annotated[  # noqa: ARG001 - stands here for the documents; the route class has looked it up
        str,
        Path(
            description="The lab's id.",
            json_schema_extra={"pattern": f"^[{ALPHABET}]{{{LAB_ID_LENGTH}}}$"},
            examples=["k3v9x2mnpq"],
        ),
    ],
) -> Lab:
    lab: Lab = request.scope[SCOPE_LAB]
    return lab


CallerOf = Annotated[Caller, Depends(_caller)]
GatewayOf = Annotated[Gateway, Depends(_gateway)]
FoundLab = Annotated[Lab, Depends(_found_lab)]


def reply(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a model as JSON; it is valid already, so FastAPI need not validate it again."""
    return Response(
        model.model_dump_json().encode(), status_code=status, media_type="application/json", headers=headers
    )


def refusals(*codes: ProblemCode, signed_in: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the documented refusals of a route: its own codes, the usual ones, and a default."""
    by_status: dict[int, list[ProblemCode]] = {}
    every = (*(USUAL_REFUSALS if signed_in else (ProblemCode.RATE_LIMITED,)), *codes, *AWAY_REFUSALS)
    for code in dict.fromkeys((*every, ProblemCode.INVALID_REQUEST)):
        by_status.setdefault(CATALOGUE[code][0], []).append(code)
    documented: dict[int | str, dict[str, Any]] = {
        status: _documented(codes_of_status) for status, codes_of_status in sorted(by_status.items())
    }
    documented["default"] = _documented([ProblemCode.INTERNAL_ERROR])
    return documented


def _documented(codes: list[ProblemCode]) -> dict[str, Any]:
    return {
        "description": "; ".join(f"`{code}`: {CATALOGUE[code][1]}" for code in codes),
        "content": {
            PROBLEM_MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code.value: {"$ref": f"#/components/examples/{code.value}"} for code in codes},
            }
        },
    }
