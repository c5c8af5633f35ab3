"""QEMU without a disk behind a relay that answers `/health` itself: every other byte is between browser and QEMU."""

import asyncio
import shutil
import sys
import tempfile

HEALTH = b"GET /health "
WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
QEMU_PORT = 5799


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until their end."""
    try:
        while block := await reader.read(65_536):
            writer.write(block)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer whether the machine is there, or join a browser with it."""
    head = await reader.readuntil(b"\r\n")
    try:
        there, thither = await asyncio.open_connection("127.0.0.1", QEMU_PORT)
    except OSError:
        writer.close()
        return
    if head.startswith(HEALTH):
        thither.close()
        writer.write(WELL)
        writer.close()
        return
    thither.write(head)
    await asyncio.gather(carry(reader, thither), carry(there, writer))


async def main() -> int:
    """Run the machine until it ends."""
    address, port = sys.argv[1], int(sys.argv[2])
    socket = tempfile.mkdtemp() + "/screen"
    machine = await asyncio.create_subprocess_exec(
        shutil.which("qemu-system-x86_64") or "/usr/bin/qemu-system-x86_64",
        *("-accel", "tcg", "-m", "64", "-nodefaults", "-vga", "std"),
        *("-vnc", f"unix:{socket},websocket=127.0.0.1:{QEMU_PORT}"),
    )
    server = await asyncio.start_server(serve, address, port)
    async with server:
        return await machine.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
