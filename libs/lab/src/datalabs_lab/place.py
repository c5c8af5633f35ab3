"""Where things are in this lab: the public text is docs/lab-contract.md."""

import os
from pathlib import Path


def _under_root(path: str) -> Path:
    """Return a path of the lab contract, under `$DATALABS_ROOT` where real paths cannot be mounted."""
    root = os.environ.get("DATALABS_ROOT", "")
    return Path(root + path) if root else Path(path)


def lab_id() -> str | None:
    """Return this lab's id, or None outside a lab."""
    return os.environ.get("DATALABS_LAB_ID")


def home() -> Path:
    """Return the folder that outlives the lab: the person's home outside a lab too."""
    inside = _under_root("/media/home")
    return inside if lab_id() and inside.is_dir() else Path.home()


def scratch() -> Path | None:
    """Return the lab's scratch folder, or None outside a lab."""
    inside = _under_root("/media/scratch")
    return inside if lab_id() and inside.is_dir() else None


def collections() -> dict[str, Path]:
    """Return the collections mounted in this lab by id; none outside a lab."""
    folder = _under_root("/data")
    if not lab_id() or not folder.is_dir():
        return {}
    return {entry.name: entry for entry in sorted(folder.iterdir()) if entry.is_dir()}


def token() -> str | None:
    """Return the lab's short-lived token for the platform's API, or None outside a lab.

    It is read anew each time, because the platform refreshes the file in place.
    """
    path = os.environ.get("DATALABS_TOKEN_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def lab_secret() -> str:
    """Return what the edge sends as `X-Lab-Secret`, and take it out of the environment that others inherit.

    It comes as a variable or, where variables can be read from outside (a container's), in a file of the lab's user.
    """
    secret = os.environ.pop("DATALABS_LAB_SECRET", "")
    path = os.environ.get("DATALABS_LAB_SECRET_FILE", "")
    if secret or not path:
        return secret
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""
