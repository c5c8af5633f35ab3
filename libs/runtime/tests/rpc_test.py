"""Requests over the real NATS."""

import asyncio
import time

import pytest
from datalabs_contracts.base import Nothing, Page
from datalabs_contracts.labs import Lab, LabRef, LabsQuery
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import GET_LAB, LAUNCH_LAB, LIST_LABS, RESERVE
from datalabs_runtime import rpc
from datalabs_runtime.messaging import Call, Messaging
from datalabs_testing.platform import Platform


async def started(messaging: Messaging) -> Messaging:
    await messaging.start()
    return messaging


async def test_a_request_is_answered_and_says_who_asks(platform: Platform) -> None:
    seen: list[Call] = []

    async def answer(request: LabsQuery, call: Call) -> Page[Lab]:
        seen.append(call)
        return Page[Lab](items=[], next=request.cursor)

    launcher = platform.messaging("launcher")
    launcher.serve(LIST_LABS, answer)
    await launcher.start()
    gateway = await started(platform.messaging("gateway"))
    reply = await gateway.rpc.call(LIST_LABS, LabsQuery(cursor="here"), act_for="ada")
    assert reply.next == "here"
    assert seen[0].identity.service == "gateway"
    assert seen[0].identity.act_for == "ada"
    await gateway.aclose()
    await launcher.aclose()
