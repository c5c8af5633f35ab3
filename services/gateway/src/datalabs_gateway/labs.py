"""Labs as their callers see them: from memory, else from the launcher; what is not theirs is not there."""

from dataclasses import replace
from typing import TypeVar

from datalabs_contracts.base import Contract, Page
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.ids import ALPHABET, LAB_ID_LENGTH
from datalabs_contracts.labs import (
    Lab,
    LabRef,
    LabsQuery,
    LaunchLab,
    RestartBody,
    RestartLab,
)
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import GET_LAB, LAUNCH_LAB, LIST_LABS, RESTART_LAB, Operation
from datalabs_gateway.asking import Asking
from datalabs_gateway.callers import Caller
from datalabs_gateway.limits import Buckets
from datalabs_gateway.projection import Entry, Key, Projection
from datalabs_gateway.remembering import Remembering

RequestT = TypeVar("RequestT", bound=Contract)

CURSOR = "labs-in-memory"
LETTERS = frozenset(ALPHABET)
NOT_THERE = "There is no such lab among yours."


class Labs:
    """Reads and changes of labs for callers."""

    def __init__(
        self, *, ask: Asking, projection: Projection, remembering: Remembering, misses: Buckets
    ) -> None:
        self._ask = ask
        self._projection = projection
        self._labs = projection.labs
        self._remembering = remembering
        self._misses = misses

    def in_memory(self, lab_id: str, caller: Caller) -> Entry | None:
        """Return a lab of the caller without asking anybody; for the hot path."""
        entry = self._labs.entry(lab_id)
        if entry is None or (entry.lab.owner != caller.username and not caller.is_operator):
            return None
        return entry

    async def find(self, lab_id: str, caller: Caller) -> Lab:
        """Return a lab that the caller may see.

        Raises ProblemError `not_found` for what is not there and for what is somebody else's.
        """
        if len(lab_id) != LAB_ID_LENGTH or not LETTERS.issuperset(lab_id) or self._labs.is_gone(lab_id):
            raise ProblemError(ProblemCode.NOT_FOUND, NOT_THERE)
        entry = self._labs.entry(lab_id)
        lab = entry.lab if entry is not None else await self._asked_for(lab_id, caller)
        if lab.owner != caller.username and not caller.is_operator:
            raise ProblemError(ProblemCode.NOT_FOUND, NOT_THERE)
        return lab

    def whose(self, caller: Caller, *, owner: str | None, everybody: bool) -> str | None:
        """Return whose things a list shows, None for everybody's.

        Raises ProblemError `forbidden` when the caller may not ask that.
        """
        if not everybody and owner in {None, caller.username}:
            return caller.username
        if not caller.is_operator:
            raise ProblemError(ProblemCode.FORBIDDEN, "Only operators may see what belongs to others.")
        return None if everybody else owner

    def own_page(self, caller: Caller) -> bytes | None:
        """Return the first page of the caller's labs without asking anybody; for the hot path."""
        if not self._projection.labs_settled:
            return None
        asked = (True, 50, None)
        page = self._labs.remembered_page(caller.username, asked)
        if page is None and self._labs.is_complete(caller.username):
            page = self._page(caller.username, include_ended=True, limit=50, after=None)
            self._labs.remember_page(caller.username, asked, page)
        return page

    async def list(
        self, caller: Caller, *, owner: str | None, include_ended: bool, limit: int, cursor: str | None
    ) -> bytes:
        """Return a page of labs as JSON, newest first.

        Raises ProblemError `invalid_cursor`.
        """
        after = _memory_key(cursor)
        if not self._projection.labs_settled or not self._labs.is_complete(owner) or (cursor and not after):
            query = LabsQuery(
                owner=owner,
                include_ended=include_ended,
                limit=limit,
                cursor=cursor if after is None else None,
            )
            return await self._listed_by_launcher(query, caller, after)
        asked = (include_ended, limit, cursor)
        page = self._labs.remembered_page(owner, asked) if owner is not None else None
        if page is None:
            page = self._page(owner, include_ended=include_ended, limit=limit, after=after)
            if owner is not None:
                self._labs.remember_page(owner, asked, page)
        return page

    async def launch(self, request: LaunchLab, caller: Caller) -> Lab:
        """Ask the launcher for a lab; the caller can read it at once."""
        # With a key the launcher knows a repeat, so a lost reply may be asked for again.
        operation = replace(LAUNCH_LAB, repeatable=True) if request.idempotency_key else LAUNCH_LAB
        return self.learn(await self._ask(operation, request, caller))

    async def change(self, operation: Operation[RequestT, Lab], request: RequestT, caller: Caller) -> Lab:
        """Ask the launcher for a change; the caller can read it at once."""
        return self.learn(await self._ask(operation, request, caller))

    async def restart(self, lab: Lab, body: RestartBody, caller: Caller, key: str | None) -> Lab:
        """Ask for a new attempt; with a key, a repeat gets the same answer."""

        async def again() -> Lab:
            return await self._ask(RESTART_LAB, RestartLab(lab_id=lab.id, size=body.size), caller)

        said = body.model_dump_json()
        return self.learn(
            await self._remembering.once(
                caller, route=f"restart/{lab.id}", key=key, said=said, work=again, reply=Lab
            )
        )

    def learn(self, lab: Lab) -> Lab:
        """Take a lab from a reply; return the newest that is known of it."""
        self._labs.merge(lab)
        entry = self._labs.entry(lab.id)
        return entry.lab if entry is not None and entry.lab.revision > lab.revision else lab

    async def _asked_for(self, lab_id: str, caller: Caller) -> Lab:
        """Ask the launcher for a lab that memory lacks: an old one, or one that an event has not told of yet."""
        self._misses.take(caller.username)
        lab = await self._ask(GET_LAB, LabRef(lab_id=lab_id), caller)
        if lab.deleted and lab.state.ended:
            raise ProblemError(ProblemCode.NOT_FOUND, NOT_THERE)
        if self._labs.is_complete(lab.owner) or not lab.state.ended:
            return self.learn(lab)
        return lab

    async def _listed_by_launcher(self, query: LabsQuery, caller: Caller, after: Key | None) -> bytes:
        """Let the launcher list; a reader who began in memory is led on to where they were."""
        page = await self._ask(LIST_LABS, query, caller)
        while after is not None and page.next and not _beyond(page, after):
            page = await self._ask(LIST_LABS, query.model_copy(update={"cursor": page.next}), caller)
        items = [lab for lab in page.items if after is None or _key(lab) > after]
        shown = [self._newest(lab) for lab in items if not (lab.deleted and lab.state.ended)]
        return Page[Lab](items=shown, next=page.next).model_dump_json().encode()

    def _newest(self, lab: Lab) -> Lab:
        entry = self._labs.entry(lab.id)
        return entry.lab if entry is not None and entry.lab.revision > lab.revision else lab

    def _page(self, owner: str | None, *, include_ended: bool, limit: int, after: Key | None) -> bytes:
        entries, last = self._labs.page(owner, include_ended=include_ended, limit=limit, after=after)
        following = b"null" if last is None else f'"{encode_cursor(CURSOR, last[0], last[1])}"'.encode()
        return b'{"items":[%b],"next":%b}' % (b",".join(entry.json() for entry in entries), following)


def _memory_key(cursor: str | None) -> Key | None:
    """Return the place that one of this module's cursors names, None for the launcher's own."""
    if cursor is None:
        return None
    try:
        at, lab_id = decode_cursor(CURSOR, cursor, float, str)
    except ProblemError:
        return None
    return at, lab_id


def _key(lab: Lab) -> Key:
    return -lab.created_at.timestamp(), lab.id


def _beyond(page: Page[Lab], after: Key) -> bool:
    return bool(page.items) and _key(page.items[-1]) > after
