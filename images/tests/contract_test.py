"""What every image of ours promises, tried on the images themselves: run anyhow, by anybody, they are labs."""

import base64
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

pytestmark = pytest.mark.docker
testcontainers_config.ryuk_disabled = True  # its reaper is an image of a registry that may not be in reach
FOLDERS = sorted(path.parent for path in Path(__file__).parents[1].glob("*/Dockerfile"))
DESKTOPS = [folder.name for folder in FOLDERS if folder.name != "notebook"]
UID = 23_456
SECRET = "a-secret"
PORT = 8888
SECONDS = 30.0
LARGEST_MIB = {"notebook": 1000, "desktop": 700}
LARGEST_APPLICATION_MIB = 1600


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    client = docker.from_env()
    yield client
    client.close()


def tag_of(name: str) -> str:
    return f"open-datalabs/{name}:1.0"


def built(engine: Any, name: str) -> Any:
    try:
        return engine.images.get(tag_of(name))
    except docker.errors.ImageNotFound:
        pytest.skip(f"{tag_of(name)} was not built here: `make images` builds all")


def lab(name: str, **changes: Any) -> DockerContainer:
    """The image as labs run it: nobody's user id, nothing to gain, nothing to write but home and memory."""
    return (
        DockerContainer(tag_of(name))
        .with_env("DATALABS_LAB_SECRET", SECRET)
        .with_env("DATALABS_USER", "ada")
        .with_tmpfs_mount("/tmp", "exec,mode=1777")
        .with_tmpfs_mount("/run", "mode=0755")
        .with_tmpfs_mount("/media/home", f"exec,mode=0700,uid={UID},gid={UID}")
        .with_kwargs(
            user=f"{UID}:{UID}",
            init=True,
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit="1g",
            **changes,
        )
    )


def address_of(container: DockerContainer) -> str:
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    return str(next(iter(wrapped.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"])


def asked(address: str, request: bytes, until: re.Pattern[bytes]) -> bytes:
    """Ask until an answer fits, and return it."""
    deadline, said = time.monotonic() + SECONDS, b""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, PORT), timeout=2) as connection:
                connection.sendall(request)
                said = b""
                while not until.search(said) and (data := connection.recv(4096)):
                    said += data
                if until.search(said):
                    return said
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"no answer like {until.pattern!r} within {SECONDS:g} s, last {said[:200]!r}")


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: lab", *headers, "", ""]).encode()


def screen() -> bytes:
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    return request(
        "/",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"X-Lab-Secret: {SECRET}",
    )


@pytest.mark.parametrize("name", [folder.name for folder in FOLDERS])
def test_an_image_says_what_it_is_and_is_nobodys_root(engine: Any, name: str) -> None:
    image = built(engine, name)
    config = image.attrs["Config"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == name
    assert labels["org.opencontainers.image.version"] == "1.0"
    assert labels["org.opencontainers.image.description"]
    assert labels["org.datalabs.kind"] == ("notebook" if name == "notebook" else "desktop")
    assert config["User"] == "1000:1000"
    assert list(config["ExposedPorts"]) == [f"{PORT}/tcp"]
    assert not any(re.search(r"://[^/@]*:[^/@]*@", value) for value in config["Env"])
    size = image.attrs["Size"] / 2**20
    assert size < LARGEST_MIB.get(name, LARGEST_APPLICATION_MIB), f"{size:.0f} MiB"


def test_the_notebook_answers_its_owner_only_and_soon(engine: Any) -> None:
    built(engine, "notebook")
    with lab("notebook") as container:
        address = address_of(container)
        asked(
            address,
            request("/api/status", "Connection: close", f"X-Lab-Secret: {SECRET}"),
            re.compile(rb" 200 OK"),
        )
        asked(address, request("/api/status", "Connection: close"), re.compile(rb" 40[13] "))
        asked(
            address,
            request("/lab", "Connection: close", f"X-Lab-Secret: {SECRET}"),
            re.compile(rb"<title>JupyterLab"),
        )


def test_the_notebook_holds_what_its_entries_promise(engine: Any) -> None:
    built(engine, "notebook")
    program = (
        "import astropy, astroquery, pyvo, skyfield, georinex, xarray, pandas, scipy, matplotlib, ipympl, datalabs_lab;"
        "import os, pwd; print('all there', os.getuid())"
    )
    with lab("notebook") as container:
        done = container.get_wrapped_container().exec_run(["/opt/lab/bin/python", "-c", program])
    assert done.output.decode().splitlines()[-1] == f"all there {UID}"


@pytest.mark.parametrize("name", DESKTOPS)
def test_a_desktop_shows_its_screen_to_its_owner_only(engine: Any, name: str) -> None:
    built(engine, name)
    with lab(name) as container:
        address = address_of(container)
        said = asked(address, screen(), re.compile(rb"RFB 003\.\d{3}\n"))
        assert said.startswith(b"HTTP/1.1 101 ")
        asked(address, request("/health", f"X-Lab-Secret: {SECRET}"), re.compile(rb"^HTTP/1.1 200 "))
        asked(address, screen().replace(SECRET.encode(), b"wrong"), re.compile(rb"^HTTP/1.1 403 "))
        panel = re.compile(r"\bxfce4-panel\b")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not panel.search(running := _running(container)):
            time.sleep(0.2)
        assert panel.search(running), running
        assert "xfwm4" in running


def _running(container: DockerContainer) -> str:
    return str(container.get_wrapped_container().exec_run(["ps", "-eo", "args"]).output.decode())


@pytest.mark.parametrize(
    ("name", "program"), [("topcat", "topcat"), ("aladin", "[Aa]ladin"), ("ds9", "ds9"), ("octave", "octave")]
)
def test_the_application_opens_with_the_desktop(engine: Any, name: str, program: str) -> None:
    built(engine, name)
    pattern = re.compile(rf"(java|wish|ds9|octave)[^\n]*{program}|^{program}\b|octave-gui", re.MULTILINE)
    with lab(name) as container:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not pattern.search(_running(container)):
            time.sleep(0.3)
        time.sleep(2)
        assert pattern.search(_running(container)), container.get_logs()


@pytest.mark.parametrize("name", ["notebook", "desktop"])
def test_a_lab_ends_when_it_is_asked(engine: Any, name: str) -> None:
    built(engine, name)
    with lab(name) as container:
        if name == "desktop":
            asked(address_of(container), screen(), re.compile(rb"RFB 003"))
        else:
            asked(address_of(container), request("/api", "Connection: close"), re.compile(rb"^HTTP/1.1 200"))
        wrapped = container.get_wrapped_container()
        began = time.monotonic()
        wrapped.stop(timeout=15)
        assert time.monotonic() - began < 8
        wrapped.reload()
        assert wrapped.attrs["State"]["ExitCode"] == 0
