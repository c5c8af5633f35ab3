import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from datalabs_standalone import probes
from datalabs_standalone.state import StateFolder

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(path: str, answer: bytes) -> AsyncIterator[None]:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(speak, path=path):
        yield


async def test_a_service_that_is_not_there_is_silent(state: StateFolder) -> None:
    assert await probes.service_ready(state.health_socket("auth"))() == probes.SILENCE


async def test_a_service_says_what_is_missing(state: StateFolder) -> None:
    socket = state.health_socket("auth")
    body = json.dumps({"status": "degraded", "checks": {"nats": "ok", "database": "no answer"}}).encode()
    async with listening(str(socket), b"HTTP/1.1 503 Service Unavailable\r\n\r\n" + body):
        answer = await probes.service_ready(socket)()
    assert answer == probes.Answer(ready=False, text="database: no answer")


async def test_a_connection_that_is_closed_at_once_is_silence(state: StateFolder) -> None:
    socket = state.health_socket("auth")
    async with listening(str(socket), b""):
        assert await probes.service_ready(socket)() == probes.SILENCE
        assert await probes.postgres_ready(socket)() == probes.SILENCE


async def test_postgres_that_starts_up_is_heard_but_not_ready(state: StateFolder) -> None:
    socket = state.run / ".s.PGSQL.5432"
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
    refusal = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    async with listening(str(socket), refusal):
        answer = await probes.postgres_ready(socket)()
    assert answer == probes.Answer(ready=False, text="the database system is starting up")


async def test_postgres_that_asks_for_a_password_is_ready(state: StateFolder) -> None:
    socket = state.run / ".s.PGSQL.5432"
    async with listening(str(socket), b"R" + (8).to_bytes(4, "big") + (10).to_bytes(4, "big")):
        assert (await probes.postgres_ready(socket)()).ready


async def test_nats_must_let_us_in(state: StateFolder) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"jetstream": true}\r\n')
        connect = json.loads((await reader.readline()).removeprefix(b"CONNECT "))
        good = connect["pass"] == "right"
        writer.write(b"PONG\r\n" if good else b"-ERR 'Authorization Violation'\r\n")
        await writer.drain()
        writer.close()

    assert state.run.exists()
    async with await asyncio.start_server(server, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert (await probes.nats_ready("127.0.0.1", port, "standalone", "right")()).ready
        refused = await probes.nats_ready("127.0.0.1", port, "standalone", "wrong")()
    assert refused == probes.Answer(ready=False, text="-ERR 'Authorization Violation'")


async def test_nats_is_started_anew_once_after_its_disk_was_full(state: StateFolder) -> None:
    log = state.root / "nats.log"
    log.write_bytes(b"[INF] Starting nats-server\n[INF] Server is ready\n")

    async def well() -> probes.Answer:
        return probes.Answer(ready=True)

    ask = probes.nats_writing(well, log=log, folder=state.root)
    assert (await ask()).ready
    with log.open("ab") as file:
        file.write(
            b"[ERR] JetStream stream 'DATALABS > EVENTS' critical write error: no space left on device\n"
        )
    assert (await ask()).only_restart
    assert (await ask()).only_restart
    with log.open("ab") as file:
        file.write(b"[INF] Starting nats-server\n[INF] Server is ready\n")
    assert (await ask()).ready


async def test_nats_is_left_alone_while_there_is_no_room(state: StateFolder) -> None:
    log = state.root / "nats.log"
    log.write_bytes(
        b"[INF] Starting nats-server\n[ERR] Filestore [EVENTS] Critical write error: write 1.blk\n"
    )

    async def well() -> probes.Answer:
        return probes.Answer(ready=True)

    ask = probes.nats_writing(well, log=log, folder=state.root, room_bytes=2**62)
    answer = await ask()
    assert (answer.ready, answer.only_restart) == (False, "")
    assert "full" in answer.text
