"""What the gateway tells the launcher on the side: whose lab is used, who looks at figures."""

import asyncio
import json
from datetime import timedelta
from typing import Any

from datalabs_contracts.labs import Interest, Seen
from datalabs_gateway.live import EVERYTHING
from datalabs_gateway.signs import SAY_AGAIN, Signs
from datalabs_testing.clock import FakeClock


class Followed:
    """Streams that are open, as the test says."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def audiences(self) -> set[str]:
        return self.names


def signs(live: Any) -> tuple[Signs, FakeClock, list[tuple[str, bytes]]]:
    said: list[tuple[str, bytes]] = []

    async def publish(subject: str, payload: bytes) -> None:
        said.append((subject, payload))

    clock = FakeClock()
    return Signs(publish=publish, live=live, clock=clock), clock, said


async def test_use_is_said_at_most_twice_a_minute() -> None:
    made, clock, said = signs(Followed())
    for _ in range(50):
        await made.used("k3v9x2mnpq")
    await made.used("aaaaaaaaaa")
    assert [subject for subject, _ in said] == ["live.lab.k3v9x2mnpq.seen", "live.lab.aaaaaaaaaa.seen"]
    assert Seen.model_validate_json(said[0][1]).at == clock.now()
    await clock.advance((SAY_AGAIN + timedelta(seconds=1)).total_seconds())
    await made.used("k3v9x2mnpq")
    assert len(said) == 3


async def test_interest_is_said_only_while_somebody_looks() -> None:
    live = Followed()
    made, _, said = signs(live)
    await made.interest()
    assert said == []
    live.names = {"ada", "bob"}
    await made.interest()
    live.names = {EVERYTHING}
    await made.interest()
    told = [Interest.model_validate_json(payload) for _, payload in said]
    assert [(one.owners, one.everybody) for one in told] == [(["ada", "bob"], False), ([], True)]


async def test_a_sign_that_cannot_be_sent_stops_nobody() -> None:
    async def broken(subject: str, payload: bytes) -> None:
        raise ConnectionError(subject, payload)

    live: Any = Followed("ada")
    made = Signs(publish=broken, live=live, clock=FakeClock())
    await made.used("k3v9x2mnpq")
    await made.interest()


async def test_an_open_stream_and_an_open_lab_reach_the_launcher(stage: Any, fakes: Any, a_lab: Any) -> None:
    heard: list[tuple[str, Any]] = []

    async def take(message: Any) -> None:
        heard.append((message.subject, json.loads(message.data)))

    await fakes.messaging["launcher"].client.subscribe("live.>", cb=take)
    fakes.labs["k3v9x2mnpq"] = a_lab()
    await fakes.tell_lab(a_lab(revision=6))
    client = await stage.signed_in("ada")
    opened = (await client.post("/api/v1/labs/k3v9x2mnpq/open")).json()["url"]
    lab = stage.lab_client("k3v9x2mnpq")
    entered = await lab.get(opened.partition("8080")[2])
    cookie = entered.headers["set-cookie"].partition(";")[0]
    await lab.get("/edge/authorize/lab", headers={"cookie": cookie})
    async with client.stream("GET", "/api/v1/events"):
        await stage.until(lambda: any(subject == "live.interest" for subject, _ in heard))
    await asyncio.sleep(0)
    subjects = dict(heard)
    assert subjects["live.interest"]["owners"] == ["ada"]
    assert subjects["live.lab.k3v9x2mnpq.seen"]["lab_id"] == "k3v9x2mnpq"
