"""What the catalogue works with beside the contracts' models."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from datalabs_contracts.base import Contract
from datalabs_contracts.datalabs import Citation, Contact, Datalab, IdlePolicy, Kind, Runtimes, SizeBounds


class VersionSpecification(Contract):
    """All that a version is, apart from its name; stored as JSON. `source` is the folder with its files."""

    runtimes: Runtimes
    port: int
    ready_path: str
    ready_secret: bool
    open_path: str
    activity: str
    sizes: list[str]
    default_size: str | None
    bounds: SizeBounds = SizeBounds()
    parameters: dict[str, Any] = Field(default_factory=dict)
    collections: list[str]
    starters: list[str]
    start_timeout_seconds: float
    stop_seconds: float
    lifetime_seconds: float | None
    idle: IdlePolicy
    packages: list[str]
    notes: str
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A datalab as its folder describes it; `remarks` are small faults that do not keep it out."""

    slug: str
    folder: Path
    root: Path
    digest: str
    version: str
    title: str
    abstract: str
    description: str
    kind: Kind
    domain: str
    mission: str
    keywords: list[str]
    licence: str
    language: str
    creator: str
    contact: Contact
    citation: Citation | None
    funder: str
    icon: str
    specification: VersionSpecification
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class StoredDatalab:
    """An entry of the catalogue; `version_digest` is of the files of its latest version."""

    datalab: Datalab
    description: str
    licence: str
    language: str
    creator: str
    contact: Contact
    citation: Citation | None
    funder: str
    root: str
    folder: str
    digest: str
    withdrawn_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class StoredVersion:
    """A version of an entry."""

    datalab: str
    name: str
    digest: str
    specification: VersionSpecification
    published_at: datetime


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A search in the terms of the database: folded words, and choices by facet."""

    words: list[str] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)
    after: tuple[float, str, str] | None = None
    limit: int = 50


@dataclass(frozen=True, kw_only=True)
class Found:
    """One hit with what it is sorted by: relevance (descending), title, slug."""

    datalab: Datalab
    key: tuple[float, str, str]
