"""A fast lab: small answers, WebSocket echo, and a sink that counts what is uploaded."""

import asyncio
import sys

import uvloop
from aiohttp import WSMsgType, web


async def small(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def echo(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type == WSMsgType.TEXT:
            await ws.send_str(message.data)
    return ws


async def sink(request: web.Request) -> web.Response:
    total = 0
    async for chunk in request.content.iter_any():
        total += len(chunk)
    return web.Response(text=str(total))


async def main() -> None:
    app = web.Application(client_max_size=1 << 40)
    app.add_routes([web.get("/ws", echo), web.post("/sink", sink), web.get("/{path:.*}", small)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, sys.argv[1], int(sys.argv[2])).start()
    await asyncio.Event().wait()


uvloop.run(main())
