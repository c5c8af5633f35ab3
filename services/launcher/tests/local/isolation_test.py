"""Tried from inside a lab: what it may not see, touch or reach (root: own user, files and network)."""

import asyncio
import http.server
import os
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.volumes import Mount
from datalabs_launcher.local.config import Isolation

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a user and a network for each lab need root")

HIDDEN = """
import os
def look(path):
    try:
        return sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read()[:20]
    except OSError as e:
        return type(e).__name__
for path in {paths!r}:
    print(path, '->', look(path))
"""


@pytest.fixture
def service() -> Iterator[Callable[[str], int]]:
    """Start services of the host, each answering with a secret."""
    servers: list[socketserver.TCPServer] = []

    def start(address: str, port: int = 0) -> int:
        server = socketserver.ThreadingTCPServer((address, port), _Secret)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class _Secret(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the host's secret")

    def log_message(self, *_: Any) -> None:
        pass


async def test_it_sees_its_own_files_and_nobody_elses(bench: Any) -> None:
    (bench.volume("home/bob", 20_002) / "diary").write_text("bob's")
    (bench.volume("home/ada", 20_001) / "mine").write_text("ada's")
    secrets = bench.state_folder / "secrets"
    secrets.mkdir()
    (secrets / "edge.key").write_text("key")
    paths = ["/media/home", "/media", "/root", "/home", str(bench.state_folder), str(secrets / "edge.key")]
    paths += [str(bench.volume("home/bob", 20_002)), "/var/lib", "/etc/shadow", "/work", str(Path.cwd())]
    said = await bench.said("python", "-c", HIDDEN.format(paths=paths))
    seen = dict(line.split(" -> ") for line in said.splitlines())
    assert "'mine'" in seen["/media/home"]
    assert seen["/media"] == "['home', 'scratch']"
    assert "environments" in seen[str(bench.state_folder)]
    assert "secrets" not in seen[str(bench.state_folder)]
    for path in (
        str(secrets / "edge.key"),
        str(bench.volume("home/bob", 20_002)),
        "/var/lib",
        str(Path.cwd()),
    ):
        assert seen[path] == "FileNotFoundError"
    assert seen["/etc/shadow"] == "PermissionError"
    assert "diary" not in said


async def test_it_is_its_owner_with_no_power_at_all(bench: Any) -> None:
    said = await bench.said(
        "sh",
        "-c",
        "id -u; id -g; id -G; whoami; hostname; pwd; grep -E '^(Cap|NoNewPrivs)' /proc/self/status",
    )
    lines = said.splitlines()
    assert lines[:4] == ["20001", "20001", "20001", "ada"]
    assert len(lines[4]) == 10
    assert lines[5] == "/media/home"
    powers = dict(line.split(":\t") for line in lines[6:])
    assert powers.pop("NoNewPrivs") == "1"
    assert set(powers.values()) == {"0000000000000000"}


async def test_collections_environment_and_system_cannot_be_written(bench: Any) -> None:
    data = bench.state_folder / "collections" / "iers"
    data.mkdir(parents=True)
    (data / "finals").write_text("earth")
    data.chmod(0o777)
    (data / "finals").chmod(0o666)
    job = bench.job("sh", "-c", "", owner="ada")
    code = (
        "for f in /data/iers/new /data/iers/finals $VIRTUAL_ENV/../x /usr/x /etc/passwd /x /run/x "
        f"{bench.environment(job.process)}/x /run/datalabs/x; do (echo x > $f) 2>/dev/null && echo wrote $f; done; "
        "cat /data/iers/finals; touch /media/home/a /media/scratch/b /tmp/c /run/lab/d && echo own"
    )
    mounts = (*job.mounts, Mount(source=str(data), target="/data/iers", read_only=True))
    said = await bench.said("sh", "-c", code, mounts=mounts)
    wrote = [line.split("/../")[-1] for line in said.splitlines() if line.startswith("wrote")]
    assert wrote in ([], ["x"])  # the folder of one's own packages lies in the home
    assert "earthown" in said


async def test_it_sees_no_process_but_its_own(bench: Any) -> None:
    said = await bench.said(
        "sh", "-c", "ls /proc | grep -c '^[0-9]'; cat /proc/1/cmdline 2>&1; ls /proc/self/fd"
    )
    lines = said.splitlines()
    assert int(lines[0]) <= 3
    assert str(bench.state_folder) not in said
    assert {"0", "1", "2"} <= set(lines[-4:])
    assert len([line for line in lines if line.isdigit()]) <= 5


async def test_tmp_is_its_own_and_bounded(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    marker = tmp_path_factory.mktemp("marker")
    said = await bench.said(
        "sh",
        "-c",
        f"ls -AR /tmp /dev/shm 2>&1 | grep {marker.name}; head -c 500000000 /dev/zero > /tmp/big; stat -c %s /tmp/big; df -m /tmp | tail -1",
    )
    assert marker.name not in said
    assert "No space left" in said


CONNECT = """
import socket
for address, port in {targets!r}:
    s = socket.socket(); s.settimeout(2)
    try:
        s.connect((address, port)); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
        print(address, port, 'REACHED', s.recv(2000)[-17:])
    except OSError as e:
        print(address, port, type(e).__name__, e)
"""


async def test_no_service_of_the_host_can_be_reached_but_the_edge(bench: Any, service: Any) -> None:
    api = bench.scheduler.api_address
    loopback, everywhere, labs_side = service("127.0.0.1"), service("0.0.0.0"), service(api)
    edge = service(api, 18_123)
    host = _own_address()
    targets = [("127.0.0.1", loopback), ("127.0.0.1", everywhere), (api, everywhere), (api, labs_side)]
    targets += [(host, everywhere)] if host else []
    said = await bench.said("python", "-c", CONNECT.format(targets=[*targets, (api, edge)]))
    lines = said.splitlines()
    assert [line for line in lines[:-1] if "REACHED" in line] == []
    assert "REACHED" in lines[-1]
    assert "TimeoutError" not in said  # refused at once, not dropped


async def test_no_lab_can_reach_another(bench: Any) -> None:
    serve = ["python", "-m", "http.server", "--bind", "{address}", "{port}"]
    first = await bench.running(*serve)
    seen = await bench.scheduler.get(first.job_id)
    await _answers(seen.address, seen.port)
    said = await bench.said("python", "-c", CONNECT.format(targets=[(seen.address, seen.port)]), owner="bob")
    assert "REACHED" not in said
    assert "TimeoutError" not in said


async def test_each_lab_has_an_address_and_names_that_resolve_without_a_server(bench: Any) -> None:
    code = (
        "import socket; print(socket.gethostbyname(socket.gethostname()), socket.gethostbyname('localhost'))"
    )
    job = bench.job("python", "-c", code)
    said = await bench.said("python", "-c", code)
    assert said.split()[1] == "127.0.0.1"
    assert said.split()[0].startswith("198.")
    assert job.lab_id


async def test_no_rights_can_be_won_back(bench: Any) -> None:
    tool = bench.volume("home/ada", 20_001) / "tool"
    shutil.copy("/bin/sh", tool)
    tool.chmod(0o4755)
    code = (
        "/media/home/tool -p -c 'id -u'; mount -t tmpfs none /tmp 2>&1; chroot / true 2>&1; "
        "ip link set eth0 down 2>&1; su -c id 2>&1; mknod /tmp/d b 1 1 2>&1; kill -9 1 2>&1; echo done"
    )
    said = await bench.said("sh", "-c", code)
    assert "\n0\n" not in f"\n{said}\n"
    assert "uid=0" not in said
    assert said.splitlines()[-1] == "done"


async def test_without_egress_a_lab_hears_at_once_that_there_is_no_way(benches: Any) -> None:
    bench = await benches(egress=False)
    said = await bench.said("python", "-c", CONNECT.format(targets=[("203.0.113.9", 80)]))
    assert "Network is unreachable" in said


async def test_an_ordinary_users_namespaces_hide_as_much(benches: Any) -> None:
    bench = await benches(isolation=Isolation.USER, own_network=False)
    assert bench.scheduler._machine.means.isolation is Isolation.USER
    bench.as_one_user()
    (bench.volume("home/bob", 20_002) / "diary").write_text("bob's")
    paths = [str(bench.volume("home/bob", 20_002)), "/root", str(bench.state_folder / "labs"), "/media"]
    said = await bench.said("python", "-c", HIDDEN.format(paths=paths))
    assert "diary" not in said
    assert "['home', 'scratch']" in said
    assert any(
        "share this machine's network" in text for text in await bench.scheduler.notices(Runtime.PROCESS)
    )


def _own_address() -> str | None:
    for line in Path("/proc/net/fib_trie").read_text().splitlines():
        word = line.strip().removeprefix("|-- ")
        if (
            line.strip().startswith("|--")
            and not word.startswith(("127.", "0.", "198.1"))
            and not word.endswith((".0", ".255"))
        ):
            return word
    return None


async def _answers(address: str, port: int) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                _, writer = await asyncio.open_connection(address, port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
