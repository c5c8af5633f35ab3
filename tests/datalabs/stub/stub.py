"""The smallest lab: answers 200 as soon as its process runs. Standard library only."""

import asyncio
import json
import os
import sys
from pathlib import Path


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split(b" ", 2)[1].decode()
            if path.startswith("/environment"):
                body = json.dumps(dict(os.environ)).encode()
            elif path.startswith("/read/"):
                body = Path(path.removeprefix("/read")).read_bytes()
            elif path.startswith("/headers"):
                body = head
            else:
                body = b"ok"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(answer, sys.argv[1], int(sys.argv[2]))
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
