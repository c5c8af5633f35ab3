"""A folder with `datalab-meta.yml` → an entry of the catalogue, or words about what is wrong with it."""

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from datalabs_catalogue import esa, icons, schemas
from datalabs_catalogue.errors import BrokenEntryError, BrokenIconError
from datalabs_catalogue.models import Entry, VersionSpecification
from datalabs_contracts.datalabs import Citation, Contact, ContainerRuntime, Runtime, Runtimes
from datalabs_contracts.ids import Slug, VersionName
from datalabs_contracts.metadata import DatalabMeta, Extension

META = "datalab-meta.yml"
LARGEST_META = 256 * 1024
LARGEST_TEXT = 256 * 1024
"""Bytes of a metadata file and of a description."""
IMAGES = "open-datalabs"
"""Where the image of an entry without a named one is looked for: what a build of its Dockerfile is called."""
SLUG: TypeAdapter[str] = TypeAdapter(Slug)
VERSION: TypeAdapter[str] = TypeAdapter(VersionName)


def read_entry(folder: Path, *, root: Path, digest: str, sizes: Collection[str]) -> Entry:
    """Read a folder. Raises `BrokenEntryError`, with all that is wrong in words for its author."""
    raw, version = _parsed(folder / META)
    try:
        meta = DatalabMeta.model_validate(esa.normalised(raw))
        slug = SLUG.validate_python(meta.extension.slug or folder.name)
        version = VERSION.validate_python(version)
    except ValidationError as error:
        raise BrokenEntryError(_in_words(error)) from error
    remarks: list[str] = []
    specification = _specification(folder, slug, version, meta.extension, sizes)
    return Entry(
        slug=slug,
        folder=folder,
        root=root,
        digest=digest,
        version=version,
        title=meta.title.strip(),
        abstract=" ".join(meta.abstract.split()),
        description=_description(folder, meta.description),
        kind=meta.extension.kind,
        domain=meta.domain,
        mission=meta.mission.strip(),
        keywords=meta.keywords,
        licence=meta.distribution.license,
        language=meta.language,
        creator=meta.creator.name,
        contact=Contact(
            name=meta.contact_point.id,
            email=meta.contact_point.email,
            organisation=meta.contact_point.organisation_name,
        ),
        citation=_citation(meta, version),
        funder=meta.funder if isinstance(meta.funder, str) else str(meta.funder.get("name", "")),
        icon=_icon(folder, meta, remarks),
        specification=specification,
        remarks=remarks,
    )


def _parsed(file: Path) -> tuple[dict[str, Any], str]:
    """Return the content, and the version as it is written (YAML would read 1.10 as the number 1.1)."""
    try:
        content = _text(file, LARGEST_META)
        raw = yaml.load(content, Loader=_Plain)  # noqa: S506 - derived from SafeLoader
        as_written = yaml.load(content, Loader=_AsWritten)  # noqa: S506 - all values stay text
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BrokenEntryError(f"{META} is no valid YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(raw, dict):
        raise BrokenEntryError(f"{META} is no mapping of names to values")
    version = as_written.get("version")
    if not isinstance(version, str):
        raise BrokenEntryError("version: is missing")
    return raw, version.strip()


class _NoAliases:
    """Refuses aliases, whose expansion can grow without bound."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # type: ignore[attr-defined]
            raise yaml.YAMLError("aliases (`*name`) are not taken")
        return super().compose_node(parent, index)  # type: ignore[misc]


class _Plain(_NoAliases, yaml.SafeLoader):
    """Ordinary YAML, safely."""


class _AsWritten(_NoAliases, yaml.BaseLoader):
    """Every value as the text that it is."""


def _text(file: Path, largest: int) -> str:
    try:
        if file.is_symlink() or not file.is_file():
            raise BrokenEntryError(f"{file.name} is no ordinary file")
        if file.stat().st_size > largest:
            raise BrokenEntryError(f"{file.name} is larger than {largest // 1024} KiB")
        return file.read_bytes().decode()
    except OSError as error:
        raise BrokenEntryError(f"{file.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BrokenEntryError(f"{file.name} is not in UTF-8") from error


def _description(folder: Path, given: str) -> str:
    """Return the Markdown that the metadata name or hold; else that of description.md or README.md."""
    named = given.strip()
    if named and _is_inside(named) and named.endswith(".md") and (folder / named).is_file():
        return _text(folder / named, LARGEST_TEXT)
    if named:
        return given
    for name in ("description.md", "README.md", "readme.md"):
        if (folder / name).is_file():
            return _text(folder / name, LARGEST_TEXT)
    return ""


def _icon(folder: Path, meta: DatalabMeta, remarks: list[str]) -> str:
    named = meta.thumbnail_url if _is_inside(meta.thumbnail_url) else ""
    for name in dict.fromkeys(filter(None, (named, "logo.svg"))):
        file = folder / name
        if file.is_file() and not file.is_symlink():
            try:
                return icons.sanitised(file.read_bytes())
            except (BrokenIconError, OSError) as error:
                remarks.append(f"{name}: {error}; an icon was drawn instead")
    return icons.drawn(meta.title, meta.extension.kind)


def _citation(meta: DatalabMeta, version: str) -> Citation | None:
    text, doi = meta.citation.strip(), meta.doi.notation.strip()
    address = re.search(r"https?://\S+", text)
    in_address = re.search(r"doi\.org/(10\.\S+)", text)
    doi = doi.removeprefix("https://doi.org/") or (in_address[1] if in_address else "")
    if not text and not doi:
        return None
    return Citation(
        text=text or f"{meta.creator.name}: {meta.title}, version {version}.",
        doi=doi or None,
        url=f"https://doi.org/{doi}" if doi else address and address[0],
    )


def _specification(
    folder: Path, slug: str, version: str, extension: Extension, sizes: Collection[str]
) -> VersionSpecification:
    wrong: list[str] = []
    offered = [name for name in extension.sizes if name in sizes]
    if extension.sizes and not offered:
        wrong.append(f"sizes: the site has none of {', '.join(extension.sizes)}")
    if extension.default_size is not None and extension.default_size not in (extension.sizes or sizes):
        wrong.append(f"default_size: {extension.default_size} is not among the sizes")
    wrong += [
        f"starters: {name} is not in the folder"
        for name in extension.starters
        if not _is_inside(name) or (folder / name).is_symlink() or not (folder / name).exists()
    ]
    wrong += [f"parameters: {problem}" for problem in schemas.faults(extension.parameters)]
    runtimes = _runtimes(folder, slug, version, extension, wrong)
    if wrong:
        raise BrokenEntryError("; ".join(f"x-datalabs: {each}" for each in wrong))
    requirements = runtimes.process.requirements if runtimes.process else _requirements(folder)
    return VersionSpecification(
        runtimes=runtimes,
        port=extension.port,
        ready_path=extension.ready_path,
        ready_secret=extension.ready_secret,
        open_path=extension.open_path,
        activity=extension.activity,
        sizes=list(extension.sizes),
        default_size=extension.default_size,
        bounds=extension.bounds,
        parameters=extension.parameters,
        collections=list(dict.fromkeys(extension.collections)),
        starters=list(dict.fromkeys(extension.starters)),
        start_timeout_seconds=extension.start_timeout_seconds,
        stop_seconds=extension.stop_seconds,
        lifetime_seconds=extension.lifetime_seconds,
        idle=extension.idle,
        packages=extension.packages or requirements,
        notes=extension.notes,
    )


def _runtimes(folder: Path, slug: str, version: str, extension: Extension, wrong: list[str]) -> Runtimes:
    order = list(dict.fromkeys(extension.runtimes))
    process, container = extension.process, extension.container
    if Runtime.PROCESS in order and process is None:
        wrong.append("process: is missing, though runtimes names it")
    if Runtime.VM in order and extension.vm is None:
        wrong.append("vm: is missing, though runtimes names it")
    if process is not None and not process.command:
        wrong.append("process.command: is empty")
    if process is not None and not process.requirements:
        process = process.model_copy(update={"requirements": _requirements(folder)})
    if Runtime.CONTAINER in order and container is None:
        container = ContainerRuntime(image=f"{IMAGES}/{slug}:{version.replace('+', '-')}")
    return Runtimes(order=order, process=process, container=container, vm=extension.vm)


def _requirements(folder: Path) -> list[str]:
    """Return the requirements of ESA's `requirements.txt`, without options and comments."""
    file = folder / "requirements.txt"
    if not file.is_file() or file.is_symlink():
        return []
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in _text(file, LARGEST_META).splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _in_words(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'entry'}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False)[:20]
    )
