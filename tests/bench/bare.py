"""The floor of a POST: FastAPI, one NATS request through FastStream, one transaction. `python -m tests.bench.bare N`.

Two processes on real servers, as the platform has it; prints the seconds of N POSTs sent at once, one a line.
"""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import uvicorn
import uvloop
from fastapi import FastAPI
from faststream.nats import NatsBroker
from faststream.security import SASLPlaintext
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from datalabs_contracts.rpc import SERVICES
from datalabs_standalone.postgres import PostgresServer
from datalabs_testing.edge import free_port
from datalabs_testing.servers import RunningPostgres, running_nats
from tests.running import REPOSITORY

SUBJECT = "rpc.auth.sign_in"
WARM_UPS = 20


class Body(BaseModel):
    datalab: str


class Reply(BaseModel):
    id: int


def _broker(user: str) -> NatsBroker:
    security = SASLPlaintext(username=user, password=os.environ[f"BARE_{user.upper()}"])
    return NatsBroker(os.environ["BARE_NATS"], security=security, inbox_prefix=f"_INBOX_{user}")


async def serve_requests() -> None:
    """The service: one transaction a request."""
    engine = create_async_engine(os.environ["BARE_DATABASE"], pool_size=5, max_overflow=0)
    broker = _broker("auth")

    async def handle(body: Body) -> Reply:
        async with engine.begin() as connection:
            found = await connection.execute(
                text("INSERT INTO labs (body) VALUES (:b) RETURNING id"), {"b": body.datalab}
            )
            return Reply(id=found.scalar_one())

    broker.subscriber(SUBJECT, queue="auth", max_workers=16)(handle)
    async with broker:
        await broker.start()
        print("serving", flush=True)
        await asyncio.Event().wait()


async def serve_http() -> None:
    """The door."""
    broker = _broker("gateway")
    app = FastAPI()

    @app.post("/labs", status_code=202)
    async def launch(body: Body) -> Reply:
        message = await broker.request(body, SUBJECT, timeout=30)
        return Reply.model_validate_json(message.body)

    async with broker:
        await broker.start()
        server = uvicorn.Server(
            uvicorn.Config(
                app, host="127.0.0.1", port=int(os.environ["BARE_PORT"]), log_level="error", access_log=False
            )
        )
        await server.serve()


async def ask(port: int, count: int) -> list[float]:
    """Send the POSTs at once, with the same HTTP client as the launches'."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http:
        for _ in range(400):
            try:
                if (await http.post("/labs", json={"datalab": "stub"})).status_code == 202:
                    break
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.025)
        for _ in range(WARM_UPS):
            await http.post("/labs", json={"datalab": "stub"})

        async def one() -> float:
            began = time.perf_counter()
            answer = await http.post("/labs", json={"datalab": "stub"})
            assert answer.status_code == 202, answer.text
            return time.perf_counter() - began

        return await asyncio.gather(*(one() for _ in range(count)))


def measure(count: int) -> list[float]:
    """Start servers and both processes, and ask."""
    folder = Path(tempfile.mkdtemp(prefix="bare-", dir="/tmp"))
    passwords = {service: secrets.token_hex(8) for service in SERVICES}
    (folder / "run").mkdir()
    postgres = RunningPostgres(
        server=PostgresServer(folder=folder / "pg", socket_folder=folder / "run", durable=True),
        superuser_password=secrets.token_hex(8),
        passwords=passwords,
    )
    postgres.start()
    children: list[subprocess.Popen[bytes]] = []
    try:
        with running_nats(folder / "nats") as nats:
            port = free_port()
            address = (
                f"postgresql+psycopg://datalabs_auth:{passwords['auth']}@/datalabs_auth?host={folder / 'run'}"
            )
            address += f"&port={postgres.server.port}"
            environment = {
                **os.environ,
                "BARE_DATABASE": address,
                "BARE_NATS": nats.url,
                "BARE_AUTH": nats.passwords["auth"],
                "BARE_GATEWAY": nats.passwords["gateway"],
                "BARE_PORT": str(port),
            }
            asyncio.run(_make_table(address))
            children = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.bench.bare", role], env=environment, cwd=REPOSITORY,
                    stdout=sys.stderr,
                )
                for role in ("service", "http")
            ]  # fmt: skip
            try:
                return asyncio.run(ask(port, count))
            finally:
                print([c.poll() for c in children], file=sys.stderr)
    finally:
        for child in children:
            child.terminate()
            child.wait()
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _make_table(address: str) -> None:
    engine = create_async_engine(address)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE labs (id bigserial PRIMARY KEY, body text NOT NULL)"))
    await engine.dispose()


def main() -> None:
    """Play the part that the command line names, or measure."""
    part = sys.argv[1]
    if part == "service":
        uvloop.run(serve_requests())
    elif part == "http":
        uvloop.run(serve_http())
    else:
        for took in measure(int(part)):
            print(took)


if __name__ == "__main__":
    main()
