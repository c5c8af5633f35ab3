"""A desktop as a lab: `python -m datalabs_lab.desktop SESSION...`.

TigerVNC's server draws the screen and speaks RFB on a socket that only this person can open; here each browser gets it
as a WebSocket at `/` of the lab's port, the same that QEMU gives for a virtual machine. Clipboard and the size of the
window go through RFB itself. The desktop ends with its session.
"""

import argparse
import asyncio
import contextlib
import hmac
import os
import pwd
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from pathlib import Path

from datalabs_lab.place import home, lab_secret
from datalabs_lab.spans import process_started_ns, send_span
from datalabs_lab.websocket import (
    LONGEST_HEAD,
    NORMAL,
    ProtocolError,
    Request,
    WebSocket,
    accept,
    read_request,
)

DISPLAY = ":1"
SECRET_HEADER = "x-lab-secret"  # noqa: S105 - a header's name
SOCKETS = Path("/tmp/.X11-unix")  # noqa: S108 - where X looks for it
HEALTH_PATH = "/health"
START_SECONDS = 30.0
"""How long TigerVNC may take to open its socket; 0.2 s is usual."""
HEAD_SECONDS = 10.0
PING_SECONDS = 30.0
GRACE_SECONDS = 3.0
"""How long the session may take to end when it is asked to."""
BLOCK = 65_536
SPAN_SECONDS = 2.0
_NAMES = "libnss_wrapper.so"


class Bridge:
    """Carries bytes between browsers and the screen."""

    def __init__(self, screen: str, secret: str) -> None:
        self._screen, self._secret = screen, secret

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                request = await read_request(reader)
            refusal = self._refusal(request)
            if refusal is not None:
                writer.write(refusal)
                await writer.drain()
            else:
                await self._carry(request, reader, writer)
        except (ProtocolError, ConnectionError, TimeoutError):
            pass  # whoever it was, it is gone or speaks something else
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _refusal(self, request: Request) -> bytes | None:
        """Return the answer to a request that gets no screen; None when it gets one."""
        path = request.path.split("?", 1)[0]
        given = request.headers.get(SECRET_HEADER, "")
        if self._secret and not hmac.compare_digest(given.encode(), self._secret.encode()):
            return _answer("403 Forbidden", "This lab answers its owner only.")
        if path == HEALTH_PATH:
            return _answer("200 OK", "The desktop runs.")
        if path != "/":
            return _answer("404 Not Found", "There is only the screen here.")
        if not request.upgrade:
            return _answer("426 Upgrade Required", "The screen is a WebSocket.")
        return None

    async def _carry(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            from_screen, to_screen = await asyncio.open_unix_connection(self._screen)
        except OSError:
            writer.write(_answer("503 Service Unavailable", "The screen is not there."))
            return
        writer.write(accept(request))
        browser = WebSocket(reader, writer)
        flows = [
            asyncio.ensure_future(_to_screen(browser, to_screen)),
            asyncio.ensure_future(_to_browser(from_screen, browser)),
            asyncio.ensure_future(_keep(browser)),
        ]
        try:
            await asyncio.wait(flows, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for flow in flows:
                flow.cancel()
            outcomes = await asyncio.gather(*flows, return_exceptions=True)
            codes = [one.code for one in outcomes if isinstance(one, ProtocolError)]
            await browser.close(codes[0] if codes else NORMAL)
            to_screen.close()


async def _to_screen(browser: WebSocket, screen: asyncio.StreamWriter) -> None:
    async for payload in browser.messages():
        screen.write(payload)
        await screen.drain()


async def _to_browser(screen: asyncio.StreamReader, browser: WebSocket) -> None:
    while data := await screen.read(BLOCK):
        await browser.send(data)


async def _keep(browser: WebSocket) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await browser.ping()


def _answer(status: str, text: str) -> bytes:
    body = f"{text}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def names(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the variables that give a person without an entry in /etc/passwd a name: D-Bus wants one.

    Containers run under any user id; `libnss_wrapper` answers from a file of ours instead of /etc/passwd.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        pass
    else:
        return {}
    user = environment.get("DATALABS_USER", "scientist")
    passwd, group = folder / "passwd", folder / "group"
    own = f"{user}:x:{os.getuid()}:{os.getgid()}:{user}:{environment.get('HOME', '/')}:/bin/bash\n"
    passwd.write_text(own + Path("/etc/passwd").read_text())
    group.write_text(f"{user}:x:{os.getgid()}:\n" + Path("/etc/group").read_text())
    return {"LD_PRELOAD": _NAMES, "NSS_WRAPPER_PASSWD": str(passwd), "NSS_WRAPPER_GROUP": str(group)}


def screen_command(socket: str, *, geometry: str, title: str) -> list[str]:
    """Return TigerVNC's command line: no TCP at all, any number of browsers, the window's size is theirs to set."""
    return [
        *("Xvnc", DISPLAY, "-geometry", geometry, "-depth", "24", "-desktop", title),
        *("-rfbport", "-1", "-rfbunixpath", socket, "-rfbunixmode", "0600", "-SecurityTypes", "None"),
        *("-AlwaysShared", "-AcceptSetDesktopSize", "-nolisten", "tcp", "-noreset"),
        # Who asks whether the screen is there and goes away would be locked out after five times, and everybody with it.
        "-UseBlacklist=0",
    ]


def _make_sockets_folder() -> None:
    """X makes it only as root; without it programs find the display by its abstract socket."""
    with contextlib.suppress(OSError):
        SOCKETS.mkdir(mode=0o1777, exist_ok=True)


async def _opened(socket: str, screen: Process) -> None:
    """Wait until the screen can be opened; raises SystemExit when it cannot."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and screen.returncode is None:
        try:
            _, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    sys.exit("The screen did not start.")


async def _run(options: argparse.Namespace) -> int:
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.mkdtemp(prefix="lab-"))
    secret = lab_secret()
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(folder),
        "DISPLAY": DISPLAY,
        **names(folder, dict(os.environ)),
    }
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    socket = str(folder / "screen")
    _make_sockets_folder()
    command = screen_command(socket, geometry=options.geometry, title=options.title)
    screen = await asyncio.create_subprocess_exec(*command, env=environment, cwd=folder)
    try:
        await _opened(socket, screen)
        server = await asyncio.start_server(
            Bridge(socket, secret).serve, options.ip, options.port, limit=max(LONGEST_HEAD, BLOCK)
        )
        session = await asyncio.create_subprocess_exec(
            *options.session, env=environment, cwd=home(), start_new_session=True
        )
        loop.call_later(SPAN_SECONDS, send_span, "lab.start", process_started_ns(), time.time_ns())
        async with server:
            return await _until_over(asked, session, screen)
    finally:
        if screen.returncode is None:
            screen.terminate()
            await screen.wait()


async def _until_over(asked: asyncio.Event, session: Process, screen: Process) -> int:
    """Wait for the session's end, the screen's, or a request; return the lab's exit code."""
    waits = {
        "asked": asyncio.ensure_future(asked.wait()),
        "session": asyncio.ensure_future(session.wait()),
        "screen": asyncio.ensure_future(screen.wait()),
    }
    try:
        await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED)
        if session.returncode is not None:
            return session.returncode if session.returncode >= 0 else 128 - session.returncode
        with contextlib.suppress(ProcessLookupError):
            os.killpg(session.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(session.wait(), GRACE_SECONDS)
        if asked.is_set():
            return 0
        print("The screen ended by itself.", file=sys.stderr, flush=True)  # noqa: T201 - the lab's log
        return 1
    finally:
        for wait in waits.values():
            wait.cancel()


def main() -> None:
    """Run the desktop until its session ends or it is asked to end."""
    parser = argparse.ArgumentParser(description="A desktop as a lab.")
    parser.add_argument("--ip", default=os.environ.get("DATALABS_ADDRESS", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("DATALABS_PORT", "8888")))
    parser.add_argument("--geometry", default="1280x800", help="the first size; browsers set their own")
    parser.add_argument("--title", default="Desktop")
    parser.add_argument("session", nargs="+", help="the program whose end is the desktop's")
    options = parser.parse_args()
    if shutil.which("Xvnc") is None:
        sys.exit("There is no TigerVNC here.")
    sys.exit(asyncio.run(_run(options)))


if __name__ == "__main__":
    main()
