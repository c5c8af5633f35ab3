"""How full the platform's disk is."""

import shutil
from pathlib import Path

from datalabs_storage.errors import DiskFullError

MIB = 1024 * 1024


class Disk:
    """The disk under a folder; launches stop before it is full, so that the databases do not."""

    def __init__(self, *, folder: Path, minimum_free_mib: int) -> None:
        self._folder = folder
        self._minimum_free_mib = minimum_free_mib

    def check(self, *, needed_bytes: int = 0) -> None:
        """Raise `DiskFullError` if less than the minimum is free, or would be after so many more bytes."""
        free = shutil.disk_usage(self._folder).free
        if free - needed_bytes < self._minimum_free_mib * MIB:
            raise DiskFullError(free_mib=free // MIB, minimum_mib=self._minimum_free_mib)
