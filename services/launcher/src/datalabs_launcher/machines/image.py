"""A machine's image: a folder with `disk.qcow2`, `vmlinuz`, `initrd` and `image.json`, made by `images/vm/build.sh`."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

DISK, KERNEL, FIRST_FILES, ABOUT = "disk.qcow2", "vmlinuz", "initrd", "image.json"


class ImageError(Exception):
    """A folder is no usable image: why, in plain words."""


class Image(BaseModel):
    """What `image.json` says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    title: str = ""
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 over disk, kernel and first files.")
    disk_mib: int = Field(gt=0)
    says_ready: bool = Field(
        default=False, description="Whether the guest says so when its desktop is drawn."
    )
    kernel_command_line: str = ""
    labels: dict[str, str] = Field(default_factory=dict)


def read(folder: Path) -> Image:
    """Return what an image says of itself.

    Raises `ImageError`.
    """
    try:
        image = Image.model_validate_json((folder / ABOUT).read_bytes())
    except OSError as error:
        raise ImageError(f"{folder / ABOUT} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ImageError(
            f"{folder / ABOUT} is not an image's description: {error.error_count()} errors"
        ) from None
    missing = [name for name in (DISK, KERNEL, FIRST_FILES) if not (folder / name).is_file()]
    if missing:
        raise ImageError(f"The image {image.name} is not whole: {', '.join(missing)} missing")
    return image


def verify(folder: Path, image: Image) -> None:
    """Compare the files with the digest: 0.3 s for a disk of 400 MB.

    Raises `ImageError`.
    """
    seen = hashlib.sha256()
    for name in (DISK, KERNEL, FIRST_FILES):
        with (folder / name).open("rb") as file:
            while chunk := file.read(2**20):
                seen.update(chunk)
    if seen.hexdigest() != image.digest:
        raise ImageError(
            f"The image {image.name} is damaged: its files do not have the digest that it states"
        )
