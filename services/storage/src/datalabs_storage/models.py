"""What storage works with beside the contracts' models."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from datalabs_contracts.datalabs import Collection, CollectionFile
from datalabs_contracts.metadata import CollectionMeta


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything lies. `retired` must be on the file system of what it takes."""

    volumes: Path
    collections: Path

    @property
    def homes(self) -> Path:
        """A folder for each person."""
        return self.volumes / "home"

    @property
    def scratches(self) -> Path:
        """A folder for each lab."""
        return self.volumes / "scratch"

    @property
    def accounts(self) -> Path:
        """A folder for each person, which is not theirs: how they are called inside a container."""
        return self.volumes / "accounts"

    @property
    def retired(self) -> Path:
        """Scratch folders on their way out."""
        return self.volumes / ".retired"

    @property
    def installing(self) -> Path:
        """Collections being put together, one fresh folder an attempt."""
        return self.collections / ".installing"

    @property
    def replaced(self) -> Path:
        """Former files of collections that labs may still have mounted."""
        return self.collections / ".replaced"

    @property
    def records(self) -> Path:
        """What was installed: a JSON file for each collection."""
        return self.collections / ".records"


@dataclass(frozen=True, kw_only=True)
class Description:
    """A collection as its file describes it; `folder` is where that file lies."""

    meta: CollectionMeta
    folder: Path

    def collection(self, *, available: bool, message: str, revision: int) -> Collection:
        """Return the collection as others see it."""
        meta = self.meta
        return Collection(
            id=meta.id,
            title=meta.title,
            abstract=meta.abstract,
            description=meta.description,
            domain=meta.domain,
            mission=meta.mission,
            licence=meta.licence,
            source=meta.source,
            citation=meta.citation,
            path=f"/data/{meta.id}",
            bytes=sum(file.bytes for file in meta.files),
            files=[
                CollectionFile(path=file.path, bytes=file.bytes, sha256=file.sha256) for file in meta.files
            ],
            available=available,
            message=message,
            revision=revision,
        )


@dataclass(frozen=True, kw_only=True)
class StoredCollection:
    """A collection with when it was withdrawn, if it was."""

    collection: Collection
    withdrawn_at: datetime | None = None
