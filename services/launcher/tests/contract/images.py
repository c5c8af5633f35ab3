"""The image of container labs under test: Debian's base, which `make base-image` makes where no registry answers."""

import subprocess
from functools import cache

IMAGE = "debian:12-slim"


@cache
def image_present() -> str:
    """Return why there is no image to run labs from; empty when there is one."""
    try:
        known = subprocess.run(
            ["docker", "image", "inspect", IMAGE], capture_output=True, check=False, text=True
        )
    except FileNotFoundError:
        return "there is no Docker here"
    return "" if known.returncode == 0 else f"no image {IMAGE} (`make base-image`): {known.stderr.strip()}"
