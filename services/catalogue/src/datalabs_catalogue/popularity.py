"""Popularity: how many people have launched an entry."""

from datalabs_catalogue.store import Store
from datalabs_contracts.datalabs import DatalabFact
from datalabs_contracts.events import DATALAB_CHANGED
from datalabs_contracts.streams import CATALOGUE_POPULARITY
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.outbox import Outbox

SELF = "service:catalogue"
KNOWN = 100_000
"""People and entries remembered as counted."""
OWNER = "platform"


class Popularity:
    """Counts each person once for each entry."""

    def __init__(self, *, database: Database, outbox: Outbox, inbox: Inbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._inbox = inbox
        self._clock = clock
        self._counted: set[tuple[str, str]] = set()

    async def launched(self, *, event_id: str, slug: str, username: str) -> None:
        """Take in that somebody's lab of an entry became ready; a person who was counted once never is again."""
        if (slug, username) in self._counted:
            return
        async with self._database.transaction() as session:
            if not await self._inbox.first_time(session, event_id, CATALOGUE_POPULARITY.name):
                return
            card = await Store(session).count_person(slug, username, at=self._clock.now())
            if card is not None:
                fact = DatalabFact(datalab=card, revision=card.revision, owner=OWNER, actor=SELF)
                self._outbox.add(session, DATALAB_CHANGED, slug, fact, revision=card.revision)
            counted = await Store(session).has_counted(slug, username)
        if counted:  # and committed
            if len(self._counted) >= KNOWN:
                self._counted.clear()
            self._counted.add((slug, username))
