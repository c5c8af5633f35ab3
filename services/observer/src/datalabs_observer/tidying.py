"""Retention: what is too old or too much is deleted, the oldest first."""

import structlog

from datalabs_observer.config import ObserverSettings
from datalabs_observer.dead_letters import DeadLetters
from datalabs_observer.history import History
from datalabs_observer.spans import Spans

log = structlog.get_logger()


class Tidying:
    """Looks at ages and sizes."""

    def __init__(
        self, *, history: History, spans: Spans, dead_letters: DeadLetters, settings: ObserverSettings
    ) -> None:
        self._history = history
        self._spans = spans
        self._dead_letters = dead_letters
        self._settings = settings

    async def run(self) -> None:
        """Delete what is past its time or beyond the size."""
        settings = self._settings
        deleted = {
            "events": await self._history.tidy(
                max_age=settings.events_max_age, max_bytes=settings.events_max_bytes
            ),
            "traces": await self._spans.tidy(
                max_age=settings.spans_max_age, max_bytes=settings.spans_max_bytes
            ),
            "dead_letters": await self._dead_letters.tidy(max_age=settings.dead_letters_max_age),
        }
        if any(deleted.values()):
            log.info("retention.deleted", **deleted)
