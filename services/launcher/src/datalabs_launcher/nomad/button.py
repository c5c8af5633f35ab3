"""The power button of a machine, pressed through its screen.

Nomad's qemu driver writes its request to QEMU's monitor and hangs up in the same moment; QEMU then drops what it has not
read, and the guest hears nothing (tried on 2.0.5 with QEMU 7.2). QEMU's screen takes the request too, by RFB's extension
`xvp` (RFC 6143 names the number, its text is the community's RFB specification), on the port that a launcher reaches.
"""

import asyncio
import secrets
import struct

from datalabs_launcher import screens

CONNECT_SECONDS, PRESS_SECONDS = 2.0, 5.0
_HEAD_LIMIT = 65_536
_BINARY, _MASKED, _LENGTH = 0x82, 0x80, 0x7F
_SHORT, _LONG = 126, 127
_NO_PASSWORD = 1
_XVP_ENCODING, _XVP = -309, 250
_SHUT_DOWN = 2
_SERVER_INIT = 24


class _Screen:
    """RFB within WebSocket frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._said = b""

    def tell(self, data: bytes) -> None:
        """Send one frame; a client's are masked."""
        mask = secrets.token_bytes(4)
        covered = bytes(byte ^ mask[number % 4] for number, byte in enumerate(data))
        self._writer.write(bytes([_BINARY, _MASKED | len(data)]) + mask + covered)

    async def hear(self, size: int) -> bytes:
        """Return so many bytes of what the screen says, whatever frames they come in."""
        while len(self._said) < size:
            _, length = await self._reader.readexactly(2)
            length &= _LENGTH
            if length == _SHORT:
                [length] = struct.unpack("!H", await self._reader.readexactly(2))
            elif length == _LONG:
                [length] = struct.unpack("!Q", await self._reader.readexactly(8))
            self._said += await self._reader.readexactly(length)
        found, self._said = self._said[:size], self._said[size:]
        return found


async def press(address: str, port: int) -> bool:
    """Press the button; return whether QEMU took it. The guest does with it what it likes."""
    writer = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(address, port, limit=_HEAD_LIMIT)
        async with asyncio.timeout(PRESS_SECONDS):
            writer.write(screens.request(host=address, secret=""))
            words = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
            if words[:2] != [b"HTTP/1.1", str(screens.SWITCHING).encode()]:
                return False
            return await _press(_Screen(reader, writer))
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def _press(screen: _Screen) -> bool:
    await screen.hear(12)
    screen.tell(b"RFB 003.008\n")
    [kinds] = await screen.hear(1)
    if _NO_PASSWORD not in await screen.hear(kinds):
        return False
    screen.tell(bytes([_NO_PASSWORD]))
    if await screen.hear(4) != bytes(4):
        return False
    screen.tell(b"\x01")  # others look on
    whole = await screen.hear(_SERVER_INIT)
    await screen.hear(struct.unpack("!I", whole[-4:])[0])
    screen.tell(struct.pack("!BxHi", 2, 1, _XVP_ENCODING))
    while (await screen.hear(1))[0] != _XVP:  # it says that it can; nothing else was asked for
        pass
    await screen.hear(3)
    screen.tell(bytes([_XVP, 0, 1, _SHUT_DOWN]))
    # an answer to what comes after it means that it was read
    screen.tell(struct.pack("!BxHi", 2, 1, _XVP_ENCODING))
    await screen.hear(4)
    return True
