"""The disks of labs' machines: an overlay a lab on its image, which all attempts of the lab use one after the other.

`machines/<lab id>/`: `disk.qcow2`, `about.json` with the digest of the image below. It outlives its attempts, so that a lab
that is started again finds its machine as it left it, until somebody discards it or it was kept long enough.
"""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from datalabs_launcher.local.vm.images import Installed
from datalabs_launcher.machines.image import DISK

ABOUT = "about.json"
_SECONDS = 20.0


class DiskError(Exception):
    """A disk could not be made: why, in plain words."""


@dataclass(frozen=True)
class Disk:
    """The disk of one lab, and the digest of the image that it grows on."""

    folder: Path
    digest: str

    @property
    def path(self) -> Path:
        """The overlay."""
        return self.folder / DISK


class Disks:
    """All disks of a state folder."""

    def __init__(self, folder: Path, *, qemu_img: Path) -> None:
        self._folder = folder
        self._qemu_img = qemu_img
        self._making = threading.Lock()

    def get(self, lab_id: str) -> Disk | None:
        """Return the disk that a lab has."""
        folder = self._folder / lab_id
        try:
            about = json.loads((folder / ABOUT).read_text())
        except (OSError, ValueError):
            return None
        return Disk(folder, str(about["digest"]))

    def make(self, lab_id: str, installed: Installed, *, disk_mib: int, uid: int) -> Disk:
        """Make a lab's disk, once however often this is called; it grows to the image and `disk_mib` beside it.

        Raises `DiskError`.
        """
        with self._making:  # a repeated submission may come while the first still makes it
            return self._make(lab_id, installed, disk_mib=disk_mib, uid=uid)

    def _make(self, lab_id: str, installed: Installed, *, disk_mib: int, uid: int) -> Disk:
        known = self.get(lab_id)
        if known is not None:
            os.utime(known.folder)
            return known
        folder = self._folder / lab_id
        self._folder.mkdir(mode=0o700, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)  # half made
        folder.mkdir(mode=0o700)
        size = installed.image.disk_mib + disk_mib
        base = installed.folder / DISK
        command: list[str | Path] = [
            *(self._qemu_img, "create", "-q", "-f", "qcow2", "-F", "qcow2"),
            *("-b", base, folder / DISK, f"{size}M"),
        ]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DiskError(f"The machine's disk could not be made: {error}") from error
        if done.returncode != 0:
            raise DiskError(f"The machine's disk could not be made: {done.stderr.strip()}")
        if os.geteuid() == 0:
            os.chown(folder / DISK, uid, uid)
            os.chown(folder, uid, uid)
        draft = folder / f"{ABOUT}.new"
        draft.write_text(json.dumps({"digest": installed.image.digest, "image": installed.image.name}))
        draft.rename(folder / ABOUT)
        return Disk(folder, installed.image.digest)

    def discard(self, lab_id: str) -> None:
        """Remove a lab's disk; one that is not there is gone already."""
        if "/" in lab_id or lab_id.startswith("."):
            return
        folder = self._folder / lab_id
        (folder / ABOUT).unlink(missing_ok=True)  # first: half removed is half made
        shutil.rmtree(folder, ignore_errors=True)

    def digests(self) -> set[str]:
        """Return the images that disks grow on."""
        disks = (self.get(name) for name in self._names())
        return {disk.digest for disk in disks if disk is not None}

    def sweep(self, *, seconds: float, but: Collection[str]) -> list[str]:
        """Discard what no attempt has used for so long; `but` are labs that live. Return whose disks went."""
        gone: list[str] = []
        for name in self._names():
            if name in but:
                os.utime(self._folder / name)
                continue
            used = max(
                path.stat().st_mtime
                for path in (self._folder / name, self._folder / name / DISK)
                if path.exists()
            )
            if time.time() - used > seconds:
                self.discard(name)
                gone.append(name)
        return gone

    def used_mib(self, lab_id: str) -> float:
        """Return what a lab's disk takes on this machine's."""
        try:
            return (self._folder / lab_id / DISK).stat().st_blocks * 512 / 2**20
        except OSError:
            return 0.0

    def _names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return [one.name for one in self._folder.iterdir() if not one.name.startswith(".")]
