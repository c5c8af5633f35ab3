"""The example for outsiders: another process that knows only nats-py and the AsyncAPI file."""

import asyncio
import json
import sys
from pathlib import Path

from datalabs_contracts.events import LAB_PROGRESSED, LAB_QUEUED, LAB_READY, LAB_STOPPED
from datalabs_contracts.labs import LabState, Reason
from datalabs_testing.events import make_event
from datalabs_testing.facts import lab_fact
from datalabs_testing.platform import Platform

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "follow_labs.py"
LAB = "k3v9x2mmpq"


async def test_the_example_follows_labs_from_another_process(platform: Platform, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.json"
    credentials.write_text(
        json.dumps(
            {
                "subscriber": {
                    "url": platform.nats.url,
                    "user": "subscriber",
                    "password": platform.nats.passwords["subscriber"],
                }
            }
        )
    )
    launcher = platform.messaging("launcher")
    await launcher.start()
    stored = [
        (LAB_QUEUED, lab_fact(LAB, revision=1, state=LabState.QUEUED)),
        (LAB_PROGRESSED, lab_fact(LAB, revision=2, state=LabState.QUEUED)),
        (LAB_READY, lab_fact(LAB, revision=3)),
    ]
    live = (LAB_STOPPED, lab_fact(LAB, revision=4, state=LabState.STOPPED, reason=Reason.STOPPED_BY_USER))
    for event, data in stored:
        made = make_event(event, LAB, data)
        await launcher.jetstream.publish(made.subject, made.raw, headers=dict(made.headers), stream="EVENTS")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        str(EXAMPLE),
        str(credentials),
        str(ROOT / "docs" / "asyncapi.gen.json"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            said = [(await process.stdout.readline()).decode().split(maxsplit=1)[1] for _ in range(2)]
            made = make_event(live[0], LAB, live[1])
            await launcher.jetstream.publish(
                made.subject, made.raw, headers=dict(made.headers), stream="EVENTS"
            )
            said.append((await process.stdout.readline()).decode().split(maxsplit=1)[1])
    finally:
        process.kill()
        await process.wait()
    assert said == [
        f"{LAB} ada Sunspots queued \n",
        f"{LAB} ada Sunspots ready \n",
        f"{LAB} ada Sunspots stopped stopped_by_user\n",
    ]


def test_the_example_is_short_and_knows_nothing_of_ours() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 30
    assert "datalabs_" not in text
