"""The node's set-up, tried from inside containers: what they reach, and what they do not."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "compose" / "nomad" / "node-setup.sh"
NETWORK, BRIDGE, SUBNET, GATEWAY = "dlt-nodes", "dlt-nodes", "172.31.79.0/24", "172.31.79.1"
pytestmark = [pytest.mark.nomad, pytest.mark.timeout(120)]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on all addresses of this machine, as a careless service would."""
    with closing(socket.create_server(("0.0.0.0", 0))) as server:
        yield server


def set_up(*arguments: str, **variables: str) -> None:
    names = {"LABS_NETWORK": NETWORK, "LABS_BRIDGE": BRIDGE, "LABS_SUBNET": SUBNET}
    subprocess.run([str(SCRIPT), *arguments], env={**os.environ, **names, **variables}, check=True)


@pytest.fixture
def network(listener: socket.socket) -> Iterator[int]:
    """Set the machine up, with one port of it allowed; give that port."""
    if os.geteuid() != 0:
        pytest.fail("the node's set-up needs root")
    port = listener.getsockname()[1]
    set_up(API=f"{GATEWAY}:{port}")
    yield port
    set_up("remove")


def reaches(image: str, address: str, port: int, *, network: str = NETWORK) -> bool:
    program = f"import socket; socket.create_connection(({address!r}, {port}), 2).close()"
    command = [
        "docker",
        "run",
        "--rm",
        f"--network={network}",
        "-v/usr:/usr:ro",
        image,
        "/usr/bin/python3",
        "-c",
        program,
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def wait_for_listener(address: str, port: int) -> None:
    """Wait until somebody listens there, asked from this machine."""
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def test_a_lab_reaches_the_edge_and_nothing_else_of_the_machine(image: str, network: int) -> None:
    with closing(socket.create_server(("0.0.0.0", 0))) as other:
        assert reaches(image, GATEWAY, network)
        assert not reaches(image, GATEWAY, other.getsockname()[1])
        assert reaches(image, "172.17.0.1", other.getsockname()[1], network="bridge")
        assert not reaches(image, "172.17.0.1", other.getsockname()[1])
        assert not reaches(image, "169.254.169.254", 80)


def test_a_lab_does_not_reach_another(image: str, network: int) -> None:
    del network
    serve = ["/usr/bin/python3", "-m", "http.server", "8888"]
    started = subprocess.run(
        [
            "docker",
            "run",
            "--rm",
            "-d",
            f"--network={NETWORK}",
            "--ip=172.31.79.9",
            "-v/usr:/usr:ro",
            image,
            *serve,
        ],
        capture_output=True,
        check=True,
        text=True,
    )
    container = started.stdout.strip()
    try:
        wait_for_listener("172.31.79.9", 8888)
        assert not reaches(image, "172.31.79.9", 8888)
    finally:
        subprocess.run(["docker", "kill", container], capture_output=True, check=True)


def test_what_was_set_up_can_be_set_up_again_and_taken_back(network: int) -> None:
    def rules() -> list[str]:
        listed = subprocess.run(["iptables", "-S"], capture_output=True, check=True, text=True)
        return [line for line in listed.stdout.splitlines() if BRIDGE in line and "-A FORWARD" not in line]

    before = rules()
    set_up(API=f"{GATEWAY}:{network}")
    assert rules() == before
    assert int(Path(f"/proc/sys/net/ipv4/neigh/{BRIDGE}/retrans_time_ms").read_text()) < 100
    set_up("remove")
    assert not [line for line in rules() if "DOCKER" not in line]
    set_up(API=f"{GATEWAY}:{network}")
