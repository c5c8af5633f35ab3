"""The Python under the labs' environments, so that another uid can use it, wherever it was installed.

A virtual environment is a link to its base interpreter. That one may lie in somebody's closed home (pyenv, uv): labs
then see its folder, and nothing above it, at its own path; where its files themselves are closed, a readable copy.
"""

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ASK = (
    "import json,os,sys;print(json.dumps([os.path.realpath(getattr(sys,'_base_executable',None) or sys.executable),"
    "sys.base_prefix,'.'.join(map(str,sys.version_info[:3]))]))"
)
_SYSTEM = ("/usr", "/bin", "/lib", "/opt")


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A base interpreter; `binds` are (source, target) folders that a lab must see read-only."""

    executable: Path
    prefix: Path
    version: str
    binds: tuple[tuple[str, str], ...] = ()

    @property
    def minor(self) -> str:
        """The version without its last part."""
        return self.version.rpartition(".")[0]

    @property
    def site(self) -> str:
        """Where packages lie within an environment."""
        return f"lib/python{self.minor}/site-packages"

    @property
    def identity(self) -> str:
        """What an environment made with it depends on."""
        return f"{self.executable} {self.version} {platform.machine()}"


def find(python: Path | None, *, copies: Path) -> Interpreter:
    """Return the interpreter to use: `python`, or the one that runs this; a copy goes below `copies` if needed.

    Raises OSError or subprocess.SubprocessError when `python` does not work.
    """
    if python is None:
        base = getattr(sys, "_base_executable", None) or sys.executable
        executable, prefix = Path(base).resolve(), Path(sys.base_prefix)
        version = platform.python_version()
    else:
        done = subprocess.run(
            [python, "-I", "-c", _ASK], check=True, capture_output=True, text=True, timeout=20
        )
        words = json.loads(done.stdout)
        executable, prefix, version = Path(words[0]), Path(words[1]), words[2]
    prefix = prefix.resolve()
    if any(str(prefix) == folder or str(prefix).startswith(f"{folder}/") for folder in _SYSTEM):
        return Interpreter(executable=executable, prefix=prefix, version=version)
    source = prefix if _readable(prefix, executable, version) else _copy(prefix, copies, version)
    return Interpreter(
        executable=executable, prefix=prefix, version=version, binds=((str(source), str(prefix)),)
    )


def _open_to_all(path: Path) -> bool:
    mode = path.stat().st_mode
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() or os.access(path, os.X_OK) else 0)
    return mode & wanted == wanted


def _readable(prefix: Path, executable: Path, version: str) -> bool:
    library = prefix / "lib" / f"python{version.rpartition('.')[0]}"
    signs = (prefix, executable, library, library / "os.py", library / "lib-dynload", library / "json")
    return all(_open_to_all(path) for path in signs if path.exists())


def _copy(prefix: Path, copies: Path, version: str) -> Path:
    target = copies / f".python-{version}"
    if target.is_dir():
        return target
    draft = copies / f".python-{version}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(prefix, draft, symlinks=True, ignore=shutil.ignore_patterns("site-packages", "test"))
    for name, _names, files in os.walk(draft):
        folder = Path(name)
        folder.chmod(0o755)
        for path in (folder / file for file in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    draft.rename(target)
    return target
