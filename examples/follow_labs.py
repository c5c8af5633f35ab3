"""Follow the labs of a platform from outside: python follow_labs.py CREDENTIALS.json ASYNCAPI.json"""

import asyncio
import json
import sys
from pathlib import Path

import nats

LIFE = ("queued", "preparing", "starting", "ready", "stopping", "stopped", "failed")


async def main(credentials: str, asyncapi: str) -> None:
    account = json.loads(Path(credentials).read_text())["subscriber"]
    channels = json.loads(Path(asyncapi).read_text())["channels"]
    life = {channels[f"lab.{fact}"]["address"].rpartition(".")[2] for fact in LIFE}
    stream = channels["lab.ready"]["x-jetstream-stream"]
    connection = await nats.connect(account["url"], user=account["user"], password=account["password"])
    labs = await connection.jetstream().subscribe("events.lab.*.*", stream=stream, ordered_consumer=True)
    async for message in labs.messages:
        fact = message.subject.rpartition(".")[2]
        if fact in life:
            lab = json.loads(message.data)["lab"]
            print(message.headers["ce-time"], lab["id"], lab["owner"], lab["name"], fact, lab["reason"] or "", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
