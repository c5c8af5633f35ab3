"""What a lab's code tries from inside, and what comes of it: it fails, nobody else is hurt, the end has a clear reason."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from datalabs_launcher.scheduler import JobState

pytestmark = pytest.mark.docker
SERVE = "import http.server; http.server.test(http.server.SimpleHTTPRequestHandler, port=20100)"
CONNECT = """
import json, socket, sys
found = {}
for place in json.loads(sys.argv[1]):
    try:
        socket.create_connection(tuple(place), timeout=2).close()
        found[f"{place[0]}:{place[1]}"] = "open"
    except OSError as error:
        found[f"{place[0]}:{place[1]}"] = type(error).__name__
print(json.dumps(found))
"""
TRY = """
import json, sys
found = {}
for name, text in json.loads(sys.argv[1]).items():
    try:
        exec(text, {})
        found[name] = "done"
    except OSError as error:
        found[name] = error.errno
print(json.dumps(found))
"""
EPERM, EACCES, EROFS, ENOENT = 1, 13, 30, 2


async def tried(bench: Any, programs: dict[str, str], **changes: Any) -> dict[str, Any]:
    return dict(json.loads(await bench.said("python3", "-c", TRY, json.dumps(programs), **changes)))


async def reached(bench: Any, *places: tuple[str, int], **changes: Any) -> dict[str, str]:
    return dict(json.loads(await bench.said("python3", "-c", CONNECT, json.dumps(places), **changes)))


@contextlib.contextmanager
def listening(address: str) -> Iterator[int]:
    """A service of this machine, on all its addresses or on one."""
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]


async def answers(address: str, port: int) -> float:
    """Return how long a lab takes to answer."""
    began = time.monotonic()
    async with aiohttp.ClientSession() as session, asyncio.timeout(15):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{address}:{port}/") as answer:
                    assert answer.status == 200
                    return time.monotonic() - began
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def neighbour(bench: Any) -> AsyncIterator[tuple[str, int]]:
    """Somebody else's lab, which answers before and after."""
    job = await bench.running("python3", "-c", SERVE, owner="bob")
    seen = await bench.scheduler.get(job.job_id)
    await answers(seen.address, seen.port)
    yield seen.address, seen.port
    assert await answers(seen.address, seen.port) < 2
    assert (await bench.scheduler.get(job.job_id)).state is JobState.RUNNING


# -- rights ------------------------------------------------------------------------------------------------------------


async def test_a_lab_has_no_capabilities_and_no_way_to_any(bench: Any) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in (await bench.said("cat", "/proc/self/status")).splitlines()
        if ":\t" in line
    )
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split() == ["20001"] * 4


async def test_rights_cannot_be_gained(bench: Any) -> None:
    found = await tried(
        bench,
        {
            "become root": "import os; os.setuid(0)",
            "give a file away": "import os; open('/tmp/x', 'w').close(); os.chown('/tmp/x', 0, 0)",
            "make a disk": "import os, stat; os.mknod('/tmp/disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))",
            "raw packets": "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
            "sniff": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
            "kernel settings": "open('/proc/sys/kernel/hostname', 'w').write('x')",
            "kernel memory": "open('/proc/kcore', 'rb').read(1)",
            "own user namespace": (
                "import ctypes; r = ctypes.CDLL(None, use_errno=True).unshare(0x10000000)\n"
                "if r: raise OSError(ctypes.get_errno(), '')"
            ),
            "mount": (
                "import ctypes; r = ctypes.CDLL(None, use_errno=True).mount(b'none', b'/tmp', b'tmpfs', 0, None)\n"
                "if r: raise OSError(ctypes.get_errno(), '')"
            ),
            "trace": (
                "import ctypes; r = ctypes.CDLL(None, use_errno=True).bpf(0, 0, 0) if hasattr(ctypes.CDLL(None), 'bpf')"
                " else ctypes.CDLL(None, use_errno=True).syscall(321, 0, 0, 0)\n"
                "if r: raise OSError(ctypes.get_errno(), '')"
            ),
        },
    )
    assert {name: one for name, one in found.items() if one == "done"} == {}, found


async def test_a_program_with_roots_bit_gives_nothing(bench: Any) -> None:
    text = await bench.said("bash", "-c", "ls -l /usr/bin/su; echo | su -c id 2>&1; id -u")
    assert "rws" in text
    assert "uid=0" not in text
    assert text.splitlines()[-1] == "20001"


async def test_read_only_parts_stay_as_they_are(bench: Any) -> None:
    programs = {
        "/usr/bin/x": "open('/usr/bin/x', 'w')",
        "/etc/x": "open('/etc/x', 'w')",
        "/etc/passwd": "open('/etc/passwd', 'a')",
        "/etc/resolv.conf": "open('/etc/resolv.conf', 'a')",
        "/run/datalabs/lab-secret": "open('/run/datalabs/lab-secret', 'a')",
        "/sys": "open('/sys/kernel/mm/ksm/run', 'w')",
        "/sys/fs/cgroup": "import os; os.mkdir('/sys/fs/cgroup/memory/x')",
        "/dev/shm": "open('/dev/shm/x', 'w')",
        "/tmp/x": "open('/tmp/x', 'w')",
        "/media/home/x": "open('/media/home/x', 'w')",
        "/media/scratch/x": "open('/media/scratch/x', 'w')",
    }
    found = await tried(bench, programs, read_only=True)
    writable = {"/dev/shm", "/tmp/x", "/media/home/x", "/media/scratch/x"}
    assert {name for name, one in found.items() if one == "done"} == writable, found
    assert {one for name, one in found.items() if name not in writable} <= {EPERM, EACCES, EROFS, ENOENT}


async def test_the_platforms_keys_are_nowhere(bench: Any) -> None:
    text = await bench.said(
        "bash",
        "-c",
        "ls /var/run/docker.sock /run/docker.sock /run/containerd /secrets /alloc 2>/dev/null; "
        "env | grep -iE 'nomad|docker|nats|postgres|vault'; "
        "find / -xdev -type s 2>/dev/null; ls /proc | grep -E '^[0-9]+$' | wc -l",
    )
    assert int(text) <= 12  # its own processes, nobody else's, and not a line above


async def test_nobody_elses_files_are_in_view(bench: Any) -> None:
    bob = bench.volume("home/bob", 20_002) / "private"
    bob.write_text("bob's")
    text = await bench.said(
        "bash", "-c", "ls -d /media/home/* /media/* /data/* 2>/dev/null; grep -c . /proc/mounts"
    )
    assert "bob" not in text
    assert text.splitlines()[:2] == ["/media/home", "/media/scratch"]


# -- network -----------------------------------------------------------------------------------------------------------


async def test_services_of_this_machine_are_out_of_reach(bench: Any) -> None:
    """NATS, PostgreSQL, Nomad, Envoy's admin, the engine: all are listeners of this machine, on whatever address."""
    gateway = str((await bench.scheduler._house.connect()).subnet.network_address + 1)
    own = socket.gethostbyname(socket.gethostname())
    side = bench.scheduler._house._api_address
    with listening("0.0.0.0") as port:
        socket.create_connection((gateway, port), timeout=2).close()  # it is there, for others
        places = [("127.0.0.1", port), (gateway, port), (side, port), ("172.17.0.1", port), (own, port)]
        places += [(gateway, known) for known in (22, 111, 2375, 2376, 4222, 4646, 4647, 5432, 8080, 9901)]
        found = await reached(bench, *places, ("169.254.169.254", 80))
    assert [place for place, one in found.items() if one == "open"] == []


async def test_the_platforms_api_is_in_reach(bench: Any) -> None:
    await bench.scheduler._house.connect()
    side = bench.scheduler._house._api_address
    with socket.create_server((side, 18_123)):
        assert await reached(bench, (side, 18_123)) == {f"{side}:18123": "open"}


async def test_other_labs_are_out_of_reach(bench: Any) -> None:
    async with neighbour(bench) as (address, port):
        found = await reached(bench, (address, port))
    assert found[f"{address}:{port}"] != "open"


async def test_the_name_server_tells_nobodys_name(bench: Any) -> None:
    job = await bench.running("sleep", "100", owner="bob")
    text = await bench.said(
        "bash", "-c", f"grep -c 127.0.0.11 /etc/resolv.conf; getent hosts {job.job_id} {job.lab_id}; true"
    )
    assert text == "0"


@pytest.fixture
def outside() -> Iterator[tuple[str, int]]:
    """A machine on another network, made of a network namespace: it stands for the internet."""
    name = f"dlout{os.getpid()}"
    for command in (
        f"ip netns add {name}",
        f"ip link add {name[:11]}a type veth peer name {name[:11]}b netns {name}",
        f"ip addr add 203.0.113.1/30 dev {name[:11]}a",
        f"ip link set {name[:11]}a up",
        f"ip -n {name} addr add 203.0.113.2/30 dev {name[:11]}b",
        f"ip -n {name} link set {name[:11]}b up",
    ):
        subprocess.run(command.split(), check=True)
    server = subprocess.Popen(
        ["ip", "netns", "exec", name, "python3", "-m", "http.server", "8000"], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("203.0.113.2", 8000), timeout=1).close()
                break
            time.sleep(0.05)
        yield "203.0.113.2", 8000
    finally:
        server.kill()
        server.wait()
        subprocess.run(["ip", "netns", "del", name], check=True)


async def test_the_internet_is_in_reach_where_the_operator_lets_it(
    bench: Any, outside: tuple[str, int]
) -> None:
    assert set((await reached(bench, outside)).values()) == {"open"}


async def test_the_internet_is_out_of_reach_where_not(cloistered: Any, outside: tuple[str, int]) -> None:
    assert "open" not in (await reached(cloistered, outside)).values()


# -- harm --------------------------------------------------------------------------------------------------------------


async def test_a_fork_bomb_ends_with_its_reason(impatient: Any) -> None:
    async with neighbour(impatient):
        end = (await impatient.ended("bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 1000")).end
    assert end.pids_exceeded
    assert "processes" in end.text
    assert (end.out_of_memory, end.disk_full) == (False, False)


async def test_a_full_scratch_ends_with_its_reason(impatient: Any) -> None:
    program = "dd if=/dev/zero of=/media/scratch/big bs=1M count=200 2>/dev/null; sleep 1000"
    async with neighbour(impatient):
        end = (await impatient.ended("bash", "-c", program)).end
    assert end.disk_full
    assert "64 MiB" in end.text


async def test_too_many_small_files_end_with_their_reason(impatient: Any) -> None:
    program = (
        "import itertools, os\n"
        "for n in itertools.count():\n"
        "    if n % 1000 == 0: os.mkdir(f'/media/scratch/{n // 1000}')\n"
        "    open(f'/media/scratch/{n // 1000}/{n}', 'w').close()\n"
    )
    async with neighbour(impatient):
        end = (await impatient.python(program)).end
    assert end.disk_full
    assert "12800 files" in end.text


async def test_what_is_written_beside_the_volumes_is_bounded_too(impatient: Any) -> None:
    program = "dd if=/dev/zero of=/tmp/big bs=1M count=1200 2>/dev/null; sleep 1000"
    end = (await impatient.ended("bash", "-c", program)).end
    assert end.disk_full
    assert "outside" in end.text


async def test_memory_ends_with_its_reason(bench: Any) -> None:
    async with neighbour(bench):
        end = (await bench.python("held = []\nwhile True: held.append(bytearray(2**20))")).end
    assert end.out_of_memory
    assert (end.pids_exceeded, end.disk_full) == (False, False)


async def test_files_in_memory_count_as_memory(bench: Any) -> None:
    end = (await bench.ended("bash", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M; exit 7", memory_mib=48)).end
    assert end.exit_code != 0


async def test_a_gigabyte_of_log_leaves_the_last_lines_and_a_few_megabytes(
    bench: Any, docker_client: Any
) -> None:
    program = "line = 'x' * 16000 + '\\n'\nimport sys\nfor n in range(2**16): sys.stdout.write(line)\nprint('the end')"
    async with neighbour(bench):
        job = bench.job("python3", "-c", program)
        await bench.scheduler.submit(job)
        seen = await bench.until(job.job_id, JobState.ENDED, seconds=110)
    assert seen.end.exit_code == 0
    lines, older = await bench.scheduler.logs(job.job_id, lines=200)
    assert (lines[-1], len(lines), older) == ("the end", 200, True)
    log = Path(docker_client.api.inspect_container(job.job_id)["LogPath"])
    assert sum(path.stat().st_size for path in log.parent.glob(f"{log.name}*")) < 12 * 2**20
