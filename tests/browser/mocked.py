"""The dashboard alone: its build behind `vite preview`, with the platform of fixtures in `dashboard/mock`."""

import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import Request, urlopen

from datalabs_testing.edge import free_port
from tests.running import REPOSITORY

START_SECONDS = 60.0


@dataclass(frozen=True)
class Mocked:
    """The platform of fixtures; who signs in chooses the world: see platform.ts. Any password but `wrong` is right."""

    url: str

    def credentials(self) -> dict[str, str]:
        """Return a password for everybody."""
        return defaultdict(lambda: "a password")

    def do(self, fault: str) -> bytes:
        """Make a bad day, or end it; returns what the platform says of itself."""
        with urlopen(Request(f"{self.url}/mock/{fault}", method="POST"), timeout=5) as answer:
            body: bytes = answer.read()
            return body


def _node() -> list[str]:
    found = shutil.which("node")
    return [found] if found else [str(REPOSITORY / "tools/node.sh"), "node"]


@contextmanager
def mocked() -> Iterator[Mocked]:
    """Serve the build until the block ends."""
    port = free_port()
    site = Mocked(f"http://127.0.0.1:{port}")
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
        while not _answers(site.url):
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the dashboard's preview did not start; is it built (make dashboard)?")
            time.sleep(0.2)
        yield site
    finally:
        server.terminate()
        server.wait(10)


def _answers(base: str) -> bool:
    try:
        with urlopen(f"{base}/api/v1/providers", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
