"""Images of virtual machines on this machine: found, checked, kept as long as a disk grows on them.

An installed image lies in `images/<name>-<digest>/` of the state folder and never changes: a disk that was made on it would
be broken by any change. Files are linked from where the image was built when that is the same file system, else copied.
"""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datalabs_launcher.machines import image
from datalabs_launcher.machines.image import Image, ImageError

_DIGITS = 12
_WHERE = "build/vm"


def beside_the_platform(start: Path = Path(__file__)) -> Path | None:
    """Return where `make vm-image` puts images, in the repository that this file is in."""
    for folder in start.resolve().parents:
        if (folder / "images" / "vm").is_dir():
            return folder / _WHERE
    return None


@dataclass(frozen=True)
class Installed:
    """An image that machines can be made on."""

    folder: Path
    image: Image


class Images:
    """The images of one state folder."""

    def __init__(self, folder: Path, sources: Sequence[Path]) -> None:
        self._folder = folder
        self._sources = sources

    def installed(self, name: str, digest: str | None = None) -> Installed | None:
        """Return an image by name, the newest unless its digest is given."""
        found: list[tuple[float, Installed]] = []
        for folder in self._folders(name):
            try:
                about = image.read(folder)
            except ImageError:
                continue
            if about.name == name and digest in {None, about.digest}:
                found.append((folder.stat().st_mtime, Installed(folder, about)))
        return max(found, key=lambda one: one[0])[1] if found else None

    def _folders(self, name: str) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (
                one
                for one in self._folder.iterdir()
                if one.name.startswith(f"{name}-") and len(one.name) == len(name) + 1 + _DIGITS
            )

    def install(self, name: str) -> Installed:
        """Return the image, installed first when a source has a newer one; takes a second then.

        Raises `ImageError`.
        """
        if "/" in name or name.startswith("."):
            raise ImageError(f"{name!r} cannot be the name of an image")
        source = next((one / name for one in self._sources if (one / name / image.ABOUT).is_file()), None)
        if source is None:
            known = self.installed(name)
            if known is None:
                raise ImageError(f"The disk {name} is not on this machine: `make vm-image` builds it.")
            return known
        about = image.read(source)
        known = self.installed(name, about.digest)
        if known is not None:
            os.utime(known.folder)
            return known
        self._folder.mkdir(mode=0o755, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self._folder) as draft:
            folder = Path(draft) / "image"
            folder.mkdir(mode=0o755)
            for part in (image.DISK, image.KERNEL, image.FIRST_FILES, image.ABOUT):
                _link_or_copy(source / part, folder / part)
            image.verify(folder, about)
            target = self._folder / f"{name}-{about.digest[:_DIGITS]}"
            folder.rename(target)
        return Installed(target, about)

    def clean(self, name: str, *, keep: Collection[str]) -> None:
        """Remove images of a name that are neither the newest nor, by digest, under a disk."""
        newest = self.installed(name)
        for folder in self._folders(name):
            if newest is not None and folder == newest.folder:
                continue
            if not any(folder.name == f"{name}-{digest[:_DIGITS]}" for digest in keep):
                shutil.rmtree(folder, ignore_errors=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    target.chmod(0o444)
