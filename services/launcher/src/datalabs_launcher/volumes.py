"""The mounts of labs on their way up: asked of storage, remembered while they are needed."""

from collections.abc import Sequence

from datalabs_contracts.volumes import Mount
from datalabs_launcher.models import LabRecord
from datalabs_launcher.neighbours import Neighbours

ANSWER_SECONDS = 20.0
"""How long one request to storage may take; copying starters and making folders is quick."""


class LabVolumes:
    """Mounts by lab and attempt; what is not remembered is asked again, which changes nothing."""

    def __init__(self, *, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._known: dict[str, tuple[int, Sequence[Mount]]] = {}

    async def mounts(self, record: LabRecord) -> Sequence[Mount]:
        """Return the mounts of the record's attempt, ready to use."""
        known = self._known.get(record.id)
        if known is not None and known[0] == record.attempt:
            return known[1]
        mounts = await self._neighbours.prepare_volumes(record, seconds=ANSWER_SECONDS)
        self._known[record.id] = (record.attempt, mounts)
        return mounts

    def forget(self, lab_id: str) -> None:
        """Drop what is remembered of an ended lab."""
        self._known.pop(lab_id, None)
