"""The `datalabs-lab` package for environments: a wheel made from its source folder, without any build tool.

It is pure Python without dependencies (its contract), so a wheel is its files and four lines of metadata; building it
with a build backend would want the network at a moment when nothing else does.
"""

import base64
import hashlib
import tomllib
import zipfile
from pathlib import Path

NAME = "datalabs-lab"
_EPOCH = (2020, 1, 1, 0, 0, 0)


def beside_the_platform(start: Path = Path(__file__)) -> Path | None:
    """Return the source folder of the package in the repository that this file is in."""
    for folder in start.resolve().parents:
        if (folder / "libs" / "lab" / "pyproject.toml").is_file():
            return folder / "libs" / "lab"
    return None


def files_of(source: Path) -> dict[str, bytes]:
    """Return the package's modules and data by their path in a wheel."""
    root = source / "src"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }


def digest(package: Path | None) -> str:
    """Return what an environment with this package depends on."""
    if package is None:
        return ""
    seen = hashlib.sha256()
    if package.is_file():
        seen.update(package.read_bytes())
    else:
        for name, content in files_of(package).items():
            seen.update(name.encode() + b"\0" + content + b"\0")
        seen.update((package / "pyproject.toml").read_bytes())
    return seen.hexdigest()[:12]


def wheel(package: Path, folder: Path) -> Path:
    """Return a wheel of the package: itself when it is one, else made in `folder`."""
    if package.is_file():
        return package
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    version = project["version"]
    info = f"datalabs_lab-{version}.dist-info"
    content = files_of(package)
    content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n".encode()
    content[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: datalabs\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    scripts = project.get("scripts", {})
    if scripts:
        lines = [f"{name} = {target}" for name, target in scripts.items()]
        content[f"{info}/entry_points.txt"] = "\n".join(["[console_scripts]", *lines, ""]).encode()
    record = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    target = folder / f"datalabs_lab-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return target


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
