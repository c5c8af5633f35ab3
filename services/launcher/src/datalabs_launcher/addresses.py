"""The ports that attempts listen on: a ring, so that a port rests before the next lab has it."""

from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.errors import NoAddressLeftError
from datalabs_launcher.models import LabRecord
from datalabs_launcher.store import attempts
from datalabs_launcher.store.attempts import Key
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import of_one
from datalabs_runtime.direct import Direct
from datalabs_runtime.together import Together


class Addresses:
    """Gives ports to attempts, to many at a time with one statement."""

    def __init__(self, *, direct: Direct, clock: Clock, settings: LauncherSettings) -> None:
        self._direct = direct
        self._clock = clock
        self._settings = settings
        self._take = Together(self._take_all, apart=of_one)

    async def of(self, record: LabRecord) -> int:
        """Return the port of a lab's attempt, the same however often it is asked for.

        Raises `NoAddressLeftError`.
        """
        port = await self._take((record.id, record.attempt))
        if port is None:
            raise NoAddressLeftError(f"no port is left for {record.id}")
        return port

    async def _take_all(self, keys: list[Key]) -> list[int | None]:
        settings = self._settings
        ports = await attempts.take_addresses(
            self._direct,
            keys,
            first=settings.first_port,
            last=settings.last_port,
            rested_before=self._clock.now() - settings.rest,
        )
        return [ports.get(key) for key in keys]
