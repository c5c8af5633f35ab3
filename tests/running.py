"""A whole platform in a folder of its own, started by the command that people use."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datalabs_client import Datalabs
from datalabs_testing.edge import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
TEST_CONTENT = REPOSITORY / "tests"
"""A content folder with datalabs that behave well or badly on purpose."""

CONTENT = REPOSITORY / "content"
COMMAND = Path(sys.executable).with_name("datalabs")
START_SECONDS = 90.0


@dataclass
class RunningPlatform:
    """One platform; `settings` are environment variables over its settings file."""

    state: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    supervisor: subprocess.Popen[str] | None = None
    start_seconds: float = 0.0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def command(
        self, *words: str, timeout: float = 120, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `datalabs WORDS` on this state folder."""
        return subprocess.run(
            [str(COMMAND), *words, "--state", str(self.state)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
            env={**os.environ, **self.settings},
        )

    def up(self, *flags: str) -> None:
        """Start and wait for the ready line."""
        began = time.monotonic()
        self.supervisor = subprocess.Popen(
            [str(COMMAND), "up", "--state", str(self.state), "--port", str(self.port), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.settings},
            start_new_session=True,
        )
        assert self.supervisor.stdout is not None
        lines: list[str] = []
        late = threading.Timer(START_SECONDS, self.supervisor.terminate)
        late.start()
        try:
            for line in self.supervisor.stdout:
                lines.append(line)
                if "is ready at" in line:
                    break
            else:
                raise RuntimeError("".join(lines) + self.tail())
        finally:
            late.cancel()
        self.start_seconds = time.monotonic() - began
        # Nobody reads the rest; a full pipe must not stop the supervisor.
        with contextlib.suppress(OSError):
            os.set_blocking(self.supervisor.stdout.fileno(), False)

    def down(self, *flags: str) -> None:
        """Stop as a person would."""
        self.command("down", *flags, check=False)
        if self.supervisor is not None:
            try:
                self.supervisor.wait(30)
            except subprocess.TimeoutExpired:
                self.supervisor.kill()
                self.supervisor.wait()
            if self.supervisor.stdout is not None:
                self.supervisor.stdout.close()
            self.supervisor = None

    def kill_supervisor(self) -> None:
        """SIGKILL, as a careless operator or the kernel would."""
        assert self.supervisor is not None
        self.supervisor.kill()
        self.supervisor.wait()
        if self.supervisor.stdout is not None:
            self.supervisor.stdout.close()
        self.supervisor = None

    def pid_of(self, part: str) -> int:
        """Return the process id of a part."""
        status = json.loads(self.command("status", "--json", check=False).stdout)
        [pid] = [entry["pid"] for entry in status["parts"] if entry["name"] == part]
        return int(pid)

    def running_pid_of(self, part: str) -> int | None:
        """Return the process id of a part that runs just now, from the supervisor's own record; None: it does not."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            entry = json.loads((self.state / "run" / "parts.json").read_text())[part]
            fields = Path(f"/proc/{entry['pid']}/stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[19]) == entry["started"]:
                return int(entry["pid"])
        return None

    def kill(self, part: str, sent: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one part."""
        os.kill(self.pid_of(part), sent)

    def credentials(self) -> dict[str, str]:
        """Return user names and passwords."""
        content = json.loads((self.state / "credentials.json").read_text())
        return {name: entry["password"] for name, entry in content.items()}

    def client(self, username: str = "ada") -> Datalabs:
        """Return the Python client of one person."""
        return Datalabs(self.url, username=username, password=self.credentials()[username])

    def tail(self, lines: int = 15) -> str:
        """Return the last log lines of all parts."""
        found = []
        for log in sorted((self.state / "logs").glob("*.log")):
            text = log.read_text(errors="replace").splitlines()[-lines:]
            found.append("\n".join([f"== {log.name}", *text]))
        return "\n".join(found)


@contextlib.contextmanager
def running(
    *, content: list[Path], settings: dict[str, str] | None = None, flags: tuple[str, ...] = ()
) -> Iterator[RunningPlatform]:
    """Run a platform with these catalogue folders until the block ends; its folder goes with it."""
    state = Path(tempfile.mkdtemp(prefix="dl-", dir="/tmp"))
    platform = RunningPlatform(
        state=state / "s",
        port=free_port(),
        settings={
            "DATALABS_PLATFORM_CONTENT": json.dumps([str(folder) for folder in content]),
            **(settings or {}),
        },
    )
    try:
        platform.up(*flags)
        yield platform
    finally:
        platform.down()
        shutil.rmtree(state, ignore_errors=True)
