"""Build the images of labs: `python tools/images.py base`, `... build [NAME | FOLDER]...`, `... list`.

A folder with a Dockerfile is all that an image needs, so the sources of ESA Datalabs build unchanged. Where no registry
answers, `base` makes `debian:12-slim` itself from Debian's packages and this machine's own settings.
"""

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import docker.errors
import yaml

from datalabs_launcher.local.lab_package import wheel

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "images"
CONTENT = ROOT / "content" / "datalabs"
BASE = "debian:12-slim"
SUITE = "bookworm"
NAMESPACE = "open-datalabs"
GENERATED = "generated"
"""The folder of a build context that holds what this tool adds to an image's own files."""
_MIB = 2**20

SLIM = (
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/lintian/*"),
    *("/usr/share/locale/*", "/usr/share/groff/*", "/usr/share/linda/*"),
)
"""What Debian's slim images leave out."""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Source:
    """A folder to build, and the tags that its image gets."""

    folder: Path
    name: str
    version: str

    @property
    def tag(self) -> str:
        """The image's name as content entries write it."""
        return f"{NAMESPACE}/{self.name}:{self.version}"

    @property
    def settings(self) -> dict[str, Any]:
        """The optional image.toml: what generated files the Dockerfile wants."""
        path = self.folder / "image.toml"
        return tomllib.loads(path.read_text()) if path.exists() else {}

    @property
    def parents(self) -> list[str]:
        """The images that this one is made from."""
        return re.findall(r"(?im)^FROM\s+(\S+)", (self.folder / "Dockerfile").read_text())


def sources() -> list[Source]:
    """Return all images of this repository: of images/, and of content entries that bring a Dockerfile."""
    folders = [*sorted(IMAGES.iterdir()), *sorted(CONTENT.iterdir())]
    return [source_of(folder) for folder in folders if (folder / "Dockerfile").is_file()]


def source_of(folder: Path) -> Source:
    """Return the image of a folder; an entry's datalab-meta.yml says its version."""
    version, name = "1.0", folder.name
    meta = folder / "datalab-meta.yml"
    if meta.is_file():
        document = yaml.load(meta.read_text(), yaml.BaseLoader)  # noqa: S506 - it makes texts only: 1.10 stays 1.10
        version = str(document.get("version", version))
        name = (document.get("x-datalabs") or {}).get("slug", name)
    elif (folder / "image.toml").is_file():
        version = tomllib.loads((folder / "image.toml").read_text()).get("version", version)
    return Source(folder=folder, name=name.lower(), version=version)


# -- the base ----------------------------------------------------------------------------------------------------------


def make_base(engine: Any, *, again: bool) -> None:
    """Have `debian:12-slim` at hand: as it is, from a registry, or made here."""
    if not again and _has(engine, BASE):
        print(f"{BASE} is here")
        return
    if not again and _pulled(engine, BASE):
        print(f"{BASE} came from its registry")
        return
    if shutil.which("mmdebstrap") is None:
        sys.exit("No registry answers, and there is no mmdebstrap to make the base from Debian's packages.")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        _debootstrap(archive, site=_site_files(Path(folder) / "site"))
        with archive.open("rb") as file:
            answer = engine.api.import_image(
                src=file, repository="debian", tag="12-slim", changes=["CMD bash", *_site_environment()]
            )
        if "error" in answer:
            sys.exit(answer)
    print(f"{BASE} was made from Debian's packages, {_size(engine, BASE)} MiB")


def _debootstrap(archive: Path, *, site: Path) -> None:
    lines = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
    mirrors = [str(path) for path in lines if path.is_file() and "debian" in path.read_text()][:1]
    command = [
        *("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates"),
        "--aptopt=APT::Install-Recommends false",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in SLIM),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-include=/usr/share/locale/locale.alias",
        f'--customize-hook=cp -r {site}/. "$1"/',
        '--customize-hook=chroot "$1" update-ca-certificates',
        # A package's own services must not start during builds, as in Debian's own images.
        '--customize-hook=printf \'#!/bin/sh\\nexit 101\\n\' >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"',
        '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*',
        *(SUITE, str(archive), *mirrors),
    ]
    subprocess.run(command, check=True)


def _site_files(folder: Path) -> Path:
    """Gather this machine's certificates, proxies and pip settings as they will lie in the image."""
    files: dict[str, str] = {}
    for path in sorted(Path("/usr/local/share/ca-certificates").glob("*.crt")):
        files[f"usr/local/share/ca-certificates/{path.name}"] = path.read_text()
    settings = [line for line in _apt("Acquire") if "Proxy" in line or "Verify" in line or "Check-" in line]
    settings += ['APT::Install-Recommends "false";', 'Acquire::Languages "none";']
    files["etc/apt/apt.conf.d/90site"] = "\n".join(settings) + "\n"
    for path in ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "/etc/uv/uv.toml"):
        if Path(path).is_file():
            files[path.lstrip("/")] = Path(path).read_text()
    for name, content in files.items():
        if any(_has_password(word) for word in content.replace('"', " ").split()):
            print(f"left out, it holds a password: /{name}")
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return folder


def _apt(section: str) -> list[str]:
    done = subprocess.run(["apt-config", "dump", section], check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.endswith('"";')]


def _site_environment() -> list[str]:
    """Return what programs in the image need to know of the site: where certificates are, which proxy to take."""
    found = {
        name: CERTIFICATES
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
        if os.environ.get(name)
    }
    names = (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "UV_DEFAULT_INDEX",
    )
    for name in (*names, *(one.lower() for one in names[:3])):
        value = os.environ.get(name, "")
        if value and not _has_password(value):
            found[name] = value
    return [f"ENV {name}={value}" for name, value in found.items()]


def _has_password(word: str) -> bool:
    try:
        return "://" in word and bool(urlsplit(word.strip(";,")).password)
    except ValueError:
        return False


# -- images ------------------------------------------------------------------------------------------------------------


def build(engine: Any, wanted: list[Source], known: list[Source]) -> None:
    """Build images, their own parents first."""
    done: set[str] = set()

    def _build(source: Source) -> None:
        if source.tag in done:
            return
        done.add(source.tag)
        for parent in source.parents:
            for other in known:
                if parent in {other.tag, f"{NAMESPACE}/{other.name}"} and other.tag != source.tag:
                    _build(other)
        if BASE in source.parents:
            make_base(engine, again=False)
        _build_one(engine, source)

    for source in wanted:
        _build(source)


def _build_one(engine: Any, source: Source) -> None:
    began = time.monotonic()
    print(f"-- {source.tag}", flush=True)
    last = ""
    with tempfile.TemporaryDirectory() as folder:
        context = _context(source, Path(folder))
        stream = engine.api.build(
            fileobj=context, custom_context=True, tag=source.tag, rm=True, forcerm=True, decode=True,
            network_mode="host", labels=_labels(source),
        )  # fmt: skip
        for message in stream:
            if "error" in message:
                sys.exit(f"{source.tag}: {message['error'].strip()}\n{last}")
            text = message.get("stream", "").strip()
            last = (last + "\n" + text)[-4000:]
            if text.startswith("Step "):
                print(f"   {text[:140]}", flush=True)
    print(f"   {source.tag}: {_size(engine, source.tag)} MiB, {time.monotonic() - began:.0f} s", flush=True)


def _labels(source: Source) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": source.name,
        "org.opencontainers.image.version": source.version,
        "org.opencontainers.image.vendor": "Open Datalabs",
    }


def _context(source: Source, folder: Path) -> io.BytesIO:
    """Return the build context: the folder as it is, and beside it what its image.toml asks for."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(source.folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.add(path, str(path.relative_to(source.folder)), recursive=False, filter=_anonymous)
        for name, content in _generated(source, folder).items():
            entry = tarfile.TarInfo(f"{GENERATED}/{name}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    packed.seek(0)
    return packed


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who and when, so that an unchanged file is an unchanged layer."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _generated(source: Source, folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if source.settings.get("lab_package"):
        made = wheel(ROOT / "libs" / "lab", folder)
        files[made.name] = made.read_bytes()
    requirements: dict[str, None] = {}
    overrides: dict[str, None] = {}
    for slug in source.settings.get("requirements_of", []):
        meta = yaml.safe_load((CONTENT / slug / "datalab-meta.yml").read_text())
        process = meta["x-datalabs"]["process"]
        requirements |= dict.fromkeys(one for one in process["requirements"] if one != "datalabs-lab")
        overrides |= dict.fromkeys(process.get("overrides", []))
    if requirements:
        files["requirements.txt"] = "".join(f"{one}\n" for one in requirements).encode()
        files["overrides.txt"] = "".join(f"{one}\n" for one in overrides).encode()
    return files


def _has(engine: Any, tag: str) -> bool:
    try:
        engine.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _pulled(engine: Any, tag: str) -> bool:
    try:
        engine.images.pull(*tag.split(":"))
    except docker.errors.APIError:
        return False
    return True


def _size(engine: Any, tag: str) -> int:
    return round(engine.images.get(tag).attrs["Size"] / _MIB)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    base = actions.add_parser("base")
    base.add_argument("--again", action="store_true", help="make it anew from Debian's packages")
    actions.add_parser("build").add_argument("names", nargs="*", help="by default all")
    actions.add_parser("list")
    options = parser.parse_args()
    known = sources()
    if options.action == "list":
        print(json.dumps({one.tag: one.parents for one in known}, indent=2))
        return
    try:
        engine = docker.from_env(timeout=900)
        engine.ping()
    except docker.errors.DockerException as error:
        sys.exit(f"IMAGES CANNOT BE BUILT: no Docker engine answers ({error})")
    if options.action == "base":
        make_base(engine, again=options.again)
        return
    wanted = known
    if options.names:
        wanted = [source_of(Path(name)) for name in options.names if "/" in name]
        wanted += [one for one in known if one.name in options.names]
    build(engine, wanted, known)


if __name__ == "__main__":
    main()
