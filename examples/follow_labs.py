"""Follow the labs of a platform from outside: python follow_labs.py CREDENTIALS.json ASYNCAPI.json"""

import asyncio
import json
import sys
from pathlib import Path

import nats

LIFE = {"queued", "preparing", "starting", "ready", "stopping", "stopped", "failed"}


async def main(account: dict[str, str], channel: dict[str, str]) -> None:
    connection = await nats.connect(account["url"], user=account["user"], password=account["password"])
    every_lab = channel["address"].replace("{id}.ready", "*.*")
    labs = await connection.jetstream().subscribe(
        every_lab, stream=channel["x-jetstream-stream"], ordered_consumer=True
    )
    async for message in labs.messages:
        fact = message.subject.rpartition(".")[2]
        if fact in LIFE:
            lab = json.loads(message.data)["lab"]
            moment = (message.headers or {})["ce-time"]
            print(moment, lab["id"], lab["owner"], lab["name"], fact, lab["reason"] or "")


if __name__ == "__main__":
    credentials, asyncapi = (json.loads(Path(name).read_text()) for name in sys.argv[1:3])
    asyncio.run(main(credentials["subscriber"], asyncapi["channels"]["lab.ready"]))
