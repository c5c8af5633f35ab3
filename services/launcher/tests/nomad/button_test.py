"""The power button of a machine, pressed through its screen: on QEMU itself, and on whoever answers something else."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from services.launcher.tests.local import small_machines

from datalabs_launcher.nomad import button
from datalabs_testing.ports import free_port
from datalabs_testing.waiting import eventually


@pytest.mark.vm
@pytest.mark.parametrize(("program", "code"), [(small_machines.POLITE, 0), (small_machines.DEAF, None)])
async def test_a_guest_feels_it_and_does_with_it_what_it_likes(
    program: bytes, code: int | None, tmp_path: Path
) -> None:
    port, console = free_port(), tmp_path / "console"
    (tmp_path / "kernel").write_bytes(program)
    (tmp_path / "files").write_bytes(b"nothing")
    screen = f"unix:{tmp_path}/vnc.sock,websocket=127.0.0.1:{port},share=ignore,power-control=on"
    words = [
        *("qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "64", "-display", "none", "-nic", "none"),
        *("-vga", "none", "-device", "virtio-vga", "-monitor", "none", "-serial", f"file:{console}"),
        *("-kernel", str(tmp_path / "kernel"), "-initrd", str(tmp_path / "files"), "-vnc", screen),
    ]
    machine = subprocess.Popen(words)  # noqa: ASYNC220 - it returns at once
    try:
        await eventually(
            lambda: console.exists() and small_machines.HELLO.strip() in console.read_bytes(), seconds=30
        )
        assert await button.press("127.0.0.1", port)
        if code is not None:
            assert await asyncio.to_thread(machine.wait, 10) == code
        else:
            await asyncio.sleep(0.5)
            assert machine.poll() is None
    finally:
        machine.kill()
        machine.wait()


async def test_nobody_and_somebody_else_have_no_button() -> None:
    assert not await button.press("127.0.0.1", free_port())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        assert not await button.press("127.0.0.1", server.sockets[0].getsockname()[1])
