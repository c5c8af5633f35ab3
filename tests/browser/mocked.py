"""The dashboard alone: its build behind `vite preview`, with the platform of fixtures in `dashboard/mock`."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

from datalabs_testing.edge import free_port
from tests.browser.driver import REPOSITORY

START_SECONDS = 60.0


def _node() -> list[str]:
    found = shutil.which("node")
    return [found] if found else [str(REPOSITORY / "tools/node.sh"), "node"]


@contextmanager
def mocked() -> Iterator[str]:
    """Serve the build until the block ends; yields its address. Who signs in chooses the world: see platform.ts."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    vite = [
        "node_modules/vite/bin/vite.js",
        "preview",
        "--mode",
        "mock",
        "--strictPort",
        "--host",
        "127.0.0.1",
    ]
    server = subprocess.Popen(
        [*_node(), *vite, "--port", str(port)],
        cwd=REPOSITORY / "dashboard",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(base):
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the dashboard's preview did not start; is it built (make dashboard)?")
            time.sleep(0.2)
        yield base
    finally:
        server.terminate()
        server.wait(10)


def _answers(base: str) -> bool:
    try:
        with urlopen(f"{base}/api/v1/providers", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
