"""Is a desktop ready? It is when its screen speaks: a WebSocket at `/` that begins with RFB's banner.

Desktop containers and QEMU's own WebSocket answer alike. RFC 6455 for the WebSocket, RFC 6143 section 7.1.1 for the banner.
"""

import asyncio
import base64
import secrets

SWITCHING = 101
BANNER = b"RFB 003."
_HEAD_LIMIT = 8192
_BINARY_AND_FINAL, _CODE = 0x82, 0x0F
_LONGEST = 125


def request(*, host: str, secret: str) -> bytes:
    """Return what asks for the screen; QEMU insists on the subprotocol."""
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    return (
        f"GET / HTTP/1.1\r\nHost: {host}\r\nX-Lab-Secret: {secret}\r\nUser-Agent: datalabs-launcher\r\n"
        f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Protocol: binary\r\n\r\n"
    ).encode()


async def speaks(
    address: str, port: int, *, host: str, secret: str, connect_seconds: float, seconds: float
) -> bool:
    """Return whether the screen there has said its banner in time."""
    writer = None
    try:
        async with asyncio.timeout(connect_seconds):
            reader, writer = await asyncio.open_connection(address, port, limit=_HEAD_LIMIT)
        async with asyncio.timeout(seconds):
            writer.write(request(host=host, secret=secret))
            words = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
            if words[:2] != [b"HTTP/1.1", str(SWITCHING).encode()]:
                return False
            return await _banner(reader)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def _banner(reader: asyncio.StreamReader) -> bool:
    """Read binary frames until the banner is there or something else is; a server may cut it anywhere."""
    said = b""
    while len(said) < len(BANNER):
        first, length = await reader.readexactly(2)
        if first & _CODE not in {_BINARY_AND_FINAL & _CODE, 0} or length > _LONGEST:
            return False
        said += await reader.readexactly(length)
    return said.startswith(BANNER)
