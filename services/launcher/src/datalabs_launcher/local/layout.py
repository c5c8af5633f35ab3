"""The local scheduler's folders within the state folder, and how an attempt's folder is made.

labs/            0700  one folder an attempt; network.json, addresses; .purged/ names what must not
                       run again, .news/ has the sockets of launchers that want to hear of changes
environments/    0755  one folder a datalab version; labs see their own one only
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from datalabs_launcher.local.specification import Place, kernelspec, settings_files, spec_of
from datalabs_launcher.local.vm import specification as machines
from datalabs_launcher.scheduler import LabJob

KEEP_PURGED_SECONDS = 8 * 24 * 3600.0
"""Longer than any lab's row of an intent that could be submitted again."""
_KERNEL = "share/jupyter/kernels/python3"


class Layout:
    """Where things are."""

    def __init__(self, state_folder: Path) -> None:
        self.state_folder = state_folder.resolve()
        self.labs = self.state_folder / "labs"
        self.environments = self.state_folder / "environments"
        self.news = self.labs / ".news"
        self._purged = self.labs / ".purged"

    def make(self) -> None:
        """Make the folders; drop old notes."""
        self.labs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.environments.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._purged.mkdir(mode=0o700, exist_ok=True)
        for note in self._purged.iterdir():
            if time.time() - note.stat().st_mtime > KEEP_PURGED_SECONDS:
                note.unlink(missing_ok=True)

    def attempt(self, job_id: str) -> Path:
        """Return the folder of an attempt."""
        return self.labs / job_id

    def attempts(self) -> list[Path]:
        """Return the folders of all accepted attempts."""
        return sorted(
            folder
            for folder in self.labs.iterdir()
            if not folder.name.startswith(".") and (folder / "spec.json").exists()
        )

    def note_purged(self, job_id: str) -> None:
        """Remember that a job ran and was forgotten."""
        (self._purged / job_id).touch()

    def was_purged(self, job_id: str) -> bool:
        """Return whether a job ran and was forgotten."""
        return (self._purged / job_id).exists()

    def write(self, job: LabJob, place: Place, *, resolver: str | None) -> None:
        """Make an attempt's folder; spec.json comes last and makes it accepted. Raises ValueError for a bad job."""
        machine = place.machine
        spec = spec_of(job, place) if machine is None else machines.spec_of(job, place, machine)
        seed = machines.seed_of(job, place) if machine is not None else None
        folder = place.folder
        for name in ("root", "etc", "run"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name in ("etc", "run"):
            (folder / name).chmod(0o755)
        for name, content in settings_files(job, place, resolver).items():
            _readable(folder / "etc" / name, content)
        if seed is not None:
            _own(folder / machines.OWN, seed, uid=place.uid)
        original = place.environment / _KERNEL / "kernel.json"
        if spec["packages"] and original.exists():
            self._kernel(folder / "run" / "jupyter" / "kernels" / "python3", original, spec["packages"])
        if not place.private and machine is None:
            _tree(job, place)
        draft = folder / "spec.tmp"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(spec, file, ensure_ascii=False)
        draft.rename(folder / "spec.json")

    @staticmethod
    def _kernel(folder: Path, original: Path, packages: dict[str, str]) -> None:
        found: dict[str, Any] = json.loads(original.read_text())
        for parent in (folder.parent.parent, folder.parent, folder):
            parent.mkdir(mode=0o755, exist_ok=True)
            parent.chmod(0o755)
        _readable(folder / "kernel.json", json.dumps(kernelspec(found, packages)))
        for logo in original.parent.glob("logo-*"):
            # Copied: Jupyter serves no file that a link names outside the kernel's own folder.
            shutil.copyfile(logo, folder / logo.name)
            (folder / logo.name).chmod(0o644)


def _readable(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o644)


def _own(folder: Path, seed: str, *, uid: int) -> None:
    """Make the folder that a machine may write, with its seed: it may hold secrets, so nobody else reads it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(folder / machines.SEED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(seed)
    if os.geteuid() == 0:
        os.chown(folder / machines.SEED, uid, uid)
        os.chown(folder, uid, uid)


def _tree(job: LabJob, place: Place) -> None:
    """Make the contract's paths below $DATALABS_ROOT as links, where real ones cannot be mounted."""
    root = Path(place.root)
    (place.folder / "private").mkdir(mode=0o700, exist_ok=True)
    for mount in job.mounts:
        link = root / mount.target.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(mount.source)
