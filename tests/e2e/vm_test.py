"""A whole Linux machine from the catalogue to its desktop: minutes in software, so it is a tier of its own."""

import asyncio
import base64
import json
import os
import secrets
import socket
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from datalabs_client import Datalabs
from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.local.vm import probe
from tests.running import CONTENT, REPOSITORY, RunningPlatform, running

IMAGE = REPOSITORY / "build" / "vm" / "linux-desktop" / "image.json"
pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        probe.tools() is None or not IMAGE.exists(),
        reason="needs QEMU (`make vm-tools`) and the disk of the Linux desktop (`make vm-image`)",
    ),
]
ERRAND = """\
[Desktop Entry]
Type=Application
Name=Errand
Exec=sh /media/home/errand.sh
"""
SCRIPT = """\
exec >/media/home/seen.new 2>&1
echo "id $(id -un) $(id -u)"
echo "home $HOME $(stat -c %u:%a /media/home)"
echo "data $(ls /data | tr '\\n' ' ')"
touch /data/iers/mine 2>/dev/null && echo "data is writable"
sudo touch /data/iers/mine 2>/dev/null && echo "data is writable by root"
echo "root $(sudo id -u)"
echo "token $(head -c 3 "$DATALABS_TOKEN_FILE")"
echo "lab $DATALABS_LAB_ID"
echo "api $(curl -s -o /dev/null -w '%{http_code}' -m 20 "$DATALABS_API_URL/datalabs")"
for door in $DOORS; do
  timeout 5 bash -c "exec 3<>/dev/tcp/${door%:*}/${door#*:}" 2>/dev/null && echo "reached $door"
done
echo kept >/media/scratch/mine
[ -e /root-was-here ] && echo "the disk was kept"
sudo touch /root-was-here
sync
mv /media/home/seen.new /media/home/seen
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    """A platform that offers what ships."""
    with running(content=[CONTENT]) as platform:
        yield platform


@pytest.fixture
async def ada(platform: RunningPlatform) -> AsyncIterator[Datalabs]:
    async with platform.client("ada") as datalabs:
        yield datalabs
        for lab in await datalabs.labs():
            await lab.delete()


def eventually(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def doors(platform: RunningPlatform) -> list[str]:
    """Return NATS and Envoy by the addresses by which a guest might try to find them; the first is the labs' own door."""
    settings = tomllib.loads((platform.state / "datalabs.toml").read_text())
    nats = urlsplit(settings["nats"]["servers"][0]).port
    api = urlsplit(settings["platform"]["api_url_for_labs"]).hostname
    own = socket.gethostbyname(socket.gethostname())
    return [f"{host}:{port}" for host in (api, "10.0.2.2", own) for port in (platform.port, nats)]


async def banner(platform: RunningPlatform, lab_id: str, cookies: str) -> bytes:
    """Return what the lab's screen says through the edge: the answer to the upgrade, then the first frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    host = f"{lab_id}.localhost:{platform.port}"
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    writer.write(
        (
            f"GET / HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookies}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
        ).encode()
    )
    try:
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
            return answer + await reader.readexactly(14) if b" 101 " in answer else answer
    finally:
        writer.transport.abort()


def errand(home: Path, doors: list[str]) -> None:
    """Lay a program into the home that the desktop runs when it is up."""
    autostart = home / ".config" / "autostart"
    autostart.mkdir(parents=True, exist_ok=True)
    (autostart / "errand.desktop").write_text(ERRAND)
    (home / "errand.sh").write_text(SCRIPT.replace("$DOORS", " ".join(doors)))
    owner = home.stat()
    for path in (home / ".config", autostart, autostart / "errand.desktop", home / "errand.sh"):
        os.chown(path, owner.st_uid, owner.st_gid)


async def seen(home: Path) -> list[str]:
    """Return what the errand saw."""
    await asyncio.to_thread(eventually, (home / "seen").exists, 240)
    lines = (home / "seen").read_text().splitlines()
    (home / "seen").unlink()
    return lines


def screenshot(own: Path) -> bytes:
    """Return a picture of a machine's screen, taken by QEMU into the folder that it may write."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(20)
        monitor.connect(str(own / "qmp.sock"))
        with monitor.makefile("rw") as lines:
            lines.readline()
            for command in (
                {"execute": "qmp_capabilities"},
                {"execute": "screendump", "arguments": {"filename": "/vm/screen.png", "format": "png"}},
            ):
                lines.write(json.dumps(command) + "\n")
                lines.flush()
                while "return" not in (answer := json.loads(lines.readline())):
                    assert "error" not in answer, answer
    return (own / "screen.png").read_bytes()


async def test_a_linux_machine_to_its_desktop_and_back(platform: RunningPlatform, ada: Datalabs) -> None:
    lab = await ada.launch("linux-desktop")
    home = platform.state / "volumes" / "home" / "ada"
    await asyncio.to_thread(eventually, home.exists, 120)
    errand(home, doors(platform))
    ready = await lab.ready(timeout=600)
    assert ready.ready_at is not None
    seconds = (ready.ready_at - ready.created_at).total_seconds()
    print(f"click to a drawn desktop: {seconds:.1f} s")
    async with ada.visit(await lab.open()) as browser:
        jar = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    assert (await banner(platform, lab.id, jar)).endswith(b"RFB 003.008\n")
    assert b" 101 " not in await banner(platform, lab.id, "")

    lines = await seen(home)
    said = dict(line.partition(" ")[::2] for line in lines)
    uid = home.stat().st_uid
    assert said["id"] == f"ada {uid}"
    assert said["home"] == f"/media/home {uid}:700"
    assert "iers" in said["data"].split()
    assert (said["root"], said["token"], said["lab"]) == ("0", "eyJ", lab.id)
    assert said["api"] in {"200", "401"}, "the API answers, whatever it thinks of a caller without a token"
    reached = [line for line in lines if line.startswith("reached ")]
    assert reached == [f"reached {doors(platform)[0]}"]
    scratch = platform.state / "volumes" / "scratch" / lab.id
    assert (scratch / "mine").read_text() == "kept\n"
    assert (scratch / "mine").stat().st_uid == uid

    picture = await asyncio.to_thread(screenshot, platform.state / "labs" / f"lab-{lab.id}-01" / "vm")
    (REPOSITORY / "build" / "linux-desktop.png").write_bytes(picture)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5_000, "an empty screen is a picture of some hundred bytes"

    await lab.stop()
    ended = await lab.ended(timeout=90)
    assert (ended.state, ended.reason, ended.exit_code) == (LabState.STOPPED, Reason.STOPPED_BY_USER, 0)
    usage = await ada.call("GET", "/usage", params={"by": "lab"})
    assert sum(item["seconds"] for item in usage["items"]) > 0
    steps = {phase.name for phase in (await lab.timeline()).phases}
    assert steps, "the start is told in phases"

    await lab.restart()
    again = await lab.ready(timeout=600)
    assert (again.id, again.attempt) == (lab.id, 2)
    assert "the disk was kept" in await seen(home)
    await lab.stop()
    await lab.ended(timeout=90)
