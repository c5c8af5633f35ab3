"""Who is signed in, what they may have, and new accounts."""

from datalabs_contracts.labs import Limits
from datalabs_contracts.people import CreatedPerson, CreatePerson, NewPerson, PersonQuery, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import CREATE_PERSON, GET_LIMITS, GET_PERSON, GET_PERSON_LIMITS, SET_LIMITS
from datalabs_contracts.usage import LimitsBody, LimitsQuery, PersonLimits, SetLimits
from datalabs_gateway.asking import Asking
from datalabs_gateway.callers import Caller
from datalabs_gateway.models import Me
from datalabs_gateway.remembering import Remembering

LIMITS_PATIENCE = 2.0
"""Seconds that `me` waits for accounting: a page must open without it."""
AWAY = frozenset({ProblemCode.SERVICE_UNAVAILABLE, ProblemCode.DEADLINE_EXCEEDED})


class People:
    """Answers about people, from auth and accounting."""

    def __init__(self, *, ask: Asking, remembering: Remembering) -> None:
        self._ask = ask
        self._remembering = remembering

    async def me(self, caller: Caller) -> Me:
        """Return the caller with limits, or without them while accounting is away."""
        person = caller.person
        try:
            limits = await self.limits(caller, patience=LIMITS_PATIENCE)
        except ProblemError as error:
            if error.code not in AWAY:
                raise
            limits = None
        return Me(
            id=person.id,
            username=person.username,
            display_name=person.display_name,
            roles=person.roles,
            uid=person.uid,
            limits=limits,
            session_expires_at=caller.expires_at,
        )

    async def limits(self, caller: Caller, *, patience: float | None = None) -> Limits:
        """Return what the caller may have at once and what of it is used."""
        query = LimitsQuery(owner=caller.username, unlimited=caller.is_operator)
        if patience is None:
            return await self._ask(GET_LIMITS, query, caller)
        return await self._ask(GET_LIMITS, query, caller, timeout=patience)

    async def limits_of(self, username: str, caller: Caller) -> PersonLimits:
        """Return what a person may have and what of it differs from the site's.

        Raises ProblemError `not_found` when there is no such person.
        """
        person = await self._ask(GET_PERSON, PersonQuery(username=username), caller)
        query = LimitsQuery(owner=username, unlimited=Role.OPERATOR in person.roles)
        return await self._ask(GET_PERSON_LIMITS, query, caller)

    async def set_limits(self, username: str, body: LimitsBody, caller: Caller) -> PersonLimits:
        """Set what a person may have.

        Raises ProblemError `not_found` when there is no such person.
        """
        await self._ask(GET_PERSON, PersonQuery(username=username), caller)
        return await self._ask(SET_LIMITS, SetLimits(owner=username, own=body), caller)

    async def create(self, caller: Caller, body: NewPerson, key: str | None) -> CreatedPerson:
        """Make an account; with a key, a repeat gets the same answer."""

        async def make() -> CreatedPerson:
            request = CreatePerson(
                username=body.username,
                password=body.password,
                display_name=body.display_name,
                roles=body.roles,
            )
            return await self._ask(CREATE_PERSON, request, caller)

        password = body.password.get_secret_value() if body.password else ""
        said = body.model_dump_json(exclude={"password"}) + password
        return await self._remembering.once(
            caller,
            route="people",
            key=key,
            said=said,
            work=make,
            reply=CreatedPerson,
            unstored={"password"},
        )
