"""One uv environment a datalab version: built once, compiled, atomically named, read-only for labs, offline afterwards.

Folder: `environments/<slug>-<version>-<hash>`, the hash over all that its content follows from. It is built under a
name that begins with a dot and renamed when it is whole, under a lock, so a crash leaves rubbish and never half of one.
Figures and reasons (compiling, overrides, relocatable scripts): reference/process-labs.md section 1.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datalabs_contracts.datalabs import ProcessRuntime
from datalabs_launcher.local import lab_package
from datalabs_launcher.local.interpreter import Interpreter
from datalabs_launcher.scheduler import EnvironmentProgress

LAYOUT = 3
"""Raise it when environments are made in another way: all are then built anew."""
MARK = "datalab.json"
LAST_LINES = 12
POLL_SECONDS = 0.2
SMALLEST_FREE = 2**30
UNWANTED_SECONDS = 3600.0
"""A launch that was resolved before a version changed may still come with its older recipe."""
_ALWAYS = ("pip",)
_RESOLVED = re.compile(r"Resolved (\d+) packages?")
_DOWNLOADING = re.compile(r"Downloading (\S+)")
_DOWNLOADED = re.compile(r"Downloaded (\S+)")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_BAD = re.compile(r"[^A-Za-z0-9._-]")


class EnvironmentFailedError(Exception):
    """An environment could not be made: the last lines of what was tried."""


@dataclass(kw_only=True)
class _Reading:
    """What uv has said so far."""

    total: int = 0
    downloading: int = 0
    downloaded: int = 0
    stage: str = "resolve"
    lines: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Read one line of uv's output."""
        self.lines = [*self.lines, line][-LAST_LINES:]
        if match := _RESOLVED.search(line):
            self.total, self.stage = int(match.group(1)), "download"
        elif _DOWNLOADING.search(line):
            self.downloading += 1
        elif _DOWNLOADED.search(line):
            self.downloaded += 1
        elif line.startswith("Prepared"):
            self.stage = "install"
        elif line.startswith("Installed"):
            self.stage = "compile"

    def progress(self, installed: int, compiled: float) -> EnvironmentProgress:
        """Return how far it is, from uv's words and from what lies in the folder."""
        total = max(self.total, 1)
        if self.stage == "resolve":
            return EnvironmentProgress(ready=False, fraction=0.02, text="Choosing package versions")
        if self.stage == "download" and not installed:
            share = self.downloaded / max(self.downloading, 1) if self.downloading else 0.0
            text = f"Fetching {self.total} packages"
            if self.downloading:
                text += f" ({self.downloaded} of {self.downloading} large ones here)"
            return EnvironmentProgress(ready=False, fraction=0.05 + 0.45 * share, text=text)
        if self.stage != "compile":
            done = min(installed, total)
            text = f"Installing {done} of {self.total} packages"
            return EnvironmentProgress(ready=False, fraction=0.5 + 0.15 * done / total, text=text)
        text = f"Compiling for a fast start ({compiled:.0%})"
        return EnvironmentProgress(ready=False, fraction=0.65 + 0.33 * compiled, text=text)


class Environments:
    """The environments of one state folder."""

    def __init__(
        self,
        *,
        folder: Path,
        interpreter: Interpreter,
        package: Path | None,
        offline: bool,
        shared_files: bool,
        uv: Path | None = None,
    ) -> None:
        """Keep environments in `folder`; with `shared_files` they may be hard links into uv's cache."""
        self._folder = folder
        self._interpreter = interpreter
        self._package = package
        self._offline = offline
        self._shared_files = shared_files
        self._uv = uv
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)

    def path_of(self, datalab: str, version: str, process: ProcessRuntime) -> Path:
        """Return where the environment of a version is or will be."""
        recipe = {
            "layout": LAYOUT,
            "requirements": sorted(process.requirements),
            "overrides": sorted(process.overrides),
            "python": self._interpreter.identity,
            "lab": lab_package.digest(self._package) if self._wants_package(process) else "",
        }
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
        return self._folder / f"{_BAD.sub('_', f'{datalab}-{version}')}-{digest}"

    def ready(self, datalab: str, version: str, process: ProcessRuntime) -> Path | None:
        """Return the environment if it is whole, and note that it is wanted."""
        path = self.path_of(datalab, version, process)
        try:
            os.utime(path / MARK)
        except OSError:
            return None
        return path

    async def prepare(
        self, datalab: str, version: str, process: ProcessRuntime
    ) -> AsyncIterator[EnvironmentProgress]:
        """Make it unless it is there, telling of progress; failure is the last progress, never an exception."""
        path = self.path_of(datalab, version, process)
        if self.ready(datalab, version, process) is None:
            try:
                async for progress in self._make(path, datalab, version, process):
                    yield progress
            except (EnvironmentFailedError, OSError) as error:
                yield EnvironmentProgress(ready=False, failed=True, fraction=0.0, text=str(error))
                return
        yield EnvironmentProgress(ready=True, fraction=1.0, text="Ready")

    def clean(self, *, keep: Collection[Path]) -> list[Path]:
        """Remove what crashed builds left, and environments that nobody has wanted for a while; return them.

        Only versions that have another environment, wanted later, lose one. `keep` are those that labs use.
        """
        removed = []
        newest: dict[str, float] = {}
        whole = [
            path
            for path in self._folder.iterdir()
            if not path.name.startswith(".") and (path / MARK).is_file()
        ]
        for path in whole:
            name = path.name.rpartition("-")[0]
            newest[name] = max(newest.get(name, 0.0), (path / MARK).stat().st_mtime)
        for path in whole:
            name = path.name.rpartition("-")[0]
            wanted = (path / MARK).stat().st_mtime
            if path not in keep and wanted < newest[name] and time.time() - wanted > UNWANTED_SECONDS:
                removed.append(path)
        for path in self._folder.glob(".building-*"):
            with _lock(self._lock_of(path.name.removeprefix(".building-")), wait=False) as held:
                if held:
                    removed.append(path)
        for path in removed:
            _remove(path)
        return removed

    # -- building --------------------------------------------------------------------------------------------------

    def _wants_package(self, process: ProcessRuntime) -> bool:
        return any(_package_name(one) == lab_package.NAME for one in process.requirements)

    def _lock_of(self, name: str) -> Path:
        return self._folder / f".{name}.lock"

    async def _make(
        self, path: Path, datalab: str, version: str, process: ProcessRuntime
    ) -> AsyncIterator[EnvironmentProgress]:
        with contextlib.ExitStack() as stack:
            while not stack.enter_context(_lock(self._lock_of(path.name), wait=False)):
                stack.pop_all().close()
                yield EnvironmentProgress(ready=False, fraction=0.0, text="Another launcher is preparing it")
                await asyncio.sleep(1.0)
            if (path / MARK).is_file():
                return
            free = shutil.disk_usage(self._folder).free
            if free < SMALLEST_FREE:
                raise EnvironmentFailedError(f"Only {free // 2**20} MiB of disk are free; 1024 are needed.")
            draft = self._folder / f".building-{path.name}"
            await asyncio.to_thread(_remove, draft)
            yield EnvironmentProgress(ready=False, fraction=0.0, text="Making an environment")
            try:
                async for progress in self._build(draft, process):
                    yield progress
                mark = {"datalab": datalab, "version": version, "python": self._interpreter.identity}
                (draft / MARK).write_text(json.dumps(mark))
                await asyncio.to_thread(_settle, draft, closed=not self._shared_files)
                draft.rename(path)
            except Exception:
                await asyncio.to_thread(_remove, draft)
                raise
            # Cancelled, because the launcher stops, it stays: removing takes seconds, and the next build begins with it.
            self._lock_of(path.name).unlink(missing_ok=True)

    async def _build(self, draft: Path, process: ProcessRuntime) -> AsyncIterator[EnvironmentProgress]:
        uv = self._uv or find_uv()
        python = self._interpreter.executable
        reading = _Reading()
        async for _ in self._run([uv, "venv", "--relocatable", "--python", python, draft], reading):
            pass
        _link_base(draft, python)
        inputs = draft / ".inputs"
        inputs.mkdir()
        (inputs / "requirements.txt").write_text("\n".join(self._requirements(process, inputs)) + "\n")
        (inputs / "overrides.txt").write_text("\n".join(process.overrides) + "\n")
        command: list[str | Path] = [uv, "pip", "install", "--python", draft / "bin" / "python"]
        command += ["--compile-bytecode", "--requirements", inputs / "requirements.txt"]
        command += ["--overrides", inputs / "overrides.txt"]
        if not self._shared_files:
            command.append("--link-mode=copy")
        if self._offline:
            command.append("--offline")
        site = draft / self._interpreter.site
        async for _ in self._run(command, reading):
            installed, compiled = await asyncio.to_thread(_count, site, compiling=reading.stage == "compile")
            yield reading.progress(installed, compiled)
        shutil.rmtree(inputs)

    def _requirements(self, process: ProcessRuntime, folder: Path) -> list[str]:
        requirements: list[str] = []
        for one in (*process.requirements, *_ALWAYS):
            if _package_name(one) == lab_package.NAME:
                if self._package is None:
                    raise EnvironmentFailedError("The package datalabs-lab is not here; set lab_package.")
                requirements.append(str(lab_package.wheel(self._package, folder)))
            else:
                requirements.append(one)
        return requirements

    async def _run(self, command: list[str | Path], reading: _Reading) -> AsyncIterator[None]:
        """Run uv; yield now and then while it runs."""
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("VIRTUAL_ENV", "PYTHON"))
            },
            "UV_NO_PROGRESS": "1",
            "UV_SYSTEM_CERTS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        }
        process = await asyncio.create_subprocess_exec(
            # Labs read the environment under other uids; uvloop's subprocesses take no umask.
            *("/bin/sh", "-c", 'umask 022; exec "$@"', "sh"),
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=self._folder,
            start_new_session=True,
        )
        reader = asyncio.create_task(_read_lines(process, reading))
        try:
            while not reader.done():
                await asyncio.wait({reader}, timeout=POLL_SECONDS)
                yield
            await reader
            code = await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.shield(process.wait())
            reader.cancel()
        if code:
            raise EnvironmentFailedError("\n".join(reading.lines) or f"uv ended with code {code}")


def find_uv() -> Path:
    """Return uv: the installed package's own, else the one on PATH."""
    try:
        import uv  # noqa: PLC0415 - optional

        return Path(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise EnvironmentFailedError("uv is not installed: environments cannot be made.")
    return Path(found)


def _package_name(requirement: str) -> str:
    match = _NAME.match(requirement.strip())
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match else ""


async def _read_lines(process: asyncio.subprocess.Process, reading: _Reading) -> None:
    assert process.stderr is not None
    async for raw in process.stderr:
        line = raw.decode(errors="replace").rstrip()
        if line:
            reading.take(line.strip())


def _count(site: Path, *, compiling: bool) -> tuple[int, float]:
    """Return how many packages are installed, and which share of the folders with modules is compiled."""
    try:
        installed = sum(1 for one in os.scandir(site) if one.name.endswith(".dist-info"))
    except OSError:
        return 0, 0.0
    if not compiling:
        return installed, 0.0
    folders = compiled = 0
    for _folder, names, files in os.walk(site):
        if any(name.endswith(".py") for name in files):
            folders += 1
            compiled += "__pycache__" in names
        if "__pycache__" in names:
            names.remove("__pycache__")
    return installed, compiled / max(folders, 1)


def _link_base(environment: Path, python: Path) -> None:
    """Let the environment name the interpreter itself: uv may go through links that a lab cannot see."""
    link = environment / "bin" / "python"
    if link.is_symlink() and str(link.readlink()) != str(python):
        link.unlink()
        link.symlink_to(python)
    file = environment / "pyvenv.cfg"
    lines = file.read_text().splitlines()
    lines = [f"home = {python.parent}" if line.startswith("home = ") else line for line in lines]
    file.write_text("\n".join(lines) + "\n")


def _settle(environment: Path, *, closed: bool) -> None:
    """Make all of it readable to every user; with `closed` also unwritable (its files must be its own then).

    Files that are hard links into uv's cache keep their modes: labs see them through a read-only mount.
    """
    for name, _names, files in os.walk(environment):
        folder = Path(name)
        for file in files:
            path = folder / file
            state = path.lstat()
            if stat.S_ISLNK(state.st_mode):
                continue
            mode = stat.S_IMODE(state.st_mode)
            wanted = (mode | 0o444 | (0o111 if mode & 0o100 else 0)) & ~(0o222 if closed else 0o022)
            if wanted != mode:
                path.chmod(wanted)
        folder.chmod(0o555 if closed else 0o755)


def _remove(path: Path) -> None:
    if not path.exists():
        return
    for folder, _names, _files in os.walk(path):
        with contextlib.suppress(OSError):
            Path(folder).chmod(0o755)
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path, *, wait: bool) -> Iterator[bool]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
        else:
            yield True
