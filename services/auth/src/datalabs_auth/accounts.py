"""Accounts: making, listing and reading them, and the ones that a site begins with."""

import asyncio
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import Field, SecretStr, ValidationError

from datalabs_auth.errors import OperatorsOnlyError, UnknownPersonError, UsernameTakenError
from datalabs_auth.passwords import Passwords, check_strength, generate_password
from datalabs_auth.store import Store
from datalabs_contracts.base import Contract, Page
from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.events import PERSON_CREATED
from datalabs_contracts.ids import Username
from datalabs_contracts.people import (
    CreatedPerson,
    CreatePerson,
    PeopleQuery,
    Person,
    PersonFact,
    PersonQuery,
    Role,
)
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.identity import Identity
from datalabs_runtime.outbox import Outbox

log = structlog.get_logger()

SELF = "service:auth"


@dataclass(frozen=True, kw_only=True)
class UidRange:
    """The POSIX uids given to people; both ends count."""

    first: int
    last: int


class SeedAccount(Contract):
    """An account that a site begins with."""

    username: Username
    password: SecretStr = Field(min_length=1)
    roles: list[Role]
    display_name: str = ""


class SeedFile(Contract):
    """The file that names them; other keys of it are not ours."""

    accounts: list[SeedAccount]


class Accounts:
    """Makes and reads accounts."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        passwords: Passwords,
        uids: UidRange,
        password_min_length: int,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._passwords = passwords
        self._uids = uids
        self._min_length = password_min_length

    async def create(self, request: CreatePerson, *, caller: Identity) -> CreatedPerson:
        """Make an account; without a password one is made and returned this once.

        Raises `OperatorsOnlyError`, `WeakPasswordError`, `UsernameTakenError`.
        """
        if not caller.is_operator:
            raise OperatorsOnlyError
        generated = None
        if request.password is None:
            generated = generate_password()
            password = generated
        else:
            password = request.password.get_secret_value()
            check_strength(password, username=request.username, min_length=self._min_length)
        person = await self._add(
            username=request.username,
            password=password,
            roles=request.roles,
            display_name=request.display_name,
            actor=caller.username,
        )
        return CreatedPerson(person=person, password=generated)

    async def page(self, query: PeopleQuery, *, caller: Identity) -> Page[Person]:
        """Return a page of accounts by name. Raises `OperatorsOnlyError`."""
        if not (caller.is_operator or caller.service):
            raise OperatorsOnlyError
        after = decode_cursor("people", query.cursor, str)[0] if query.cursor else ""
        async with self._database.reading() as session:
            people = await Store(session).people_after(after, query.limit + 1)
        more = len(people) > query.limit
        items = people[: query.limit]
        return Page[Person](items=items, next=encode_cursor("people", items[-1].username) if more else None)

    async def get(self, query: PersonQuery, *, caller: Identity) -> Person:
        """Return one account: one's own, or anybody's for operators and services. Raises `UnknownPersonError`."""
        allowed = caller.may_see(query.username)
        async with self._database.reading() as session:
            account = await Store(session).account(query.username) if allowed else None
        if account is None:
            raise UnknownPersonError
        return account.person

    async def seed(self, file: Path) -> int:
        """Make the accounts of a seed file that are missing; never change one that exists. Return how many."""
        try:
            seeds = SeedFile.model_validate_json(await asyncio.to_thread(file.read_bytes)).accounts
        except FileNotFoundError:
            log.info("seed.missing", file=str(file))
            return 0
        except (OSError, ValidationError, json.JSONDecodeError) as error:
            # The service starts nevertheless: accounts made before can still sign in.
            log.error("seed.unusable", file=str(file), error=_without_values(error))  # noqa: TRY400
            return 0
        made = 0
        for seed in seeds:
            made += await self._seed_one(seed)
        return made

    async def _seed_one(self, seed: SeedAccount) -> bool:
        async with self._database.reading() as session:
            if await Store(session).account(seed.username) is not None:
                return False
        try:
            await self._add(
                username=seed.username,
                password=seed.password.get_secret_value(),
                roles=seed.roles,
                display_name=seed.display_name,
                actor=SELF,
            )
        except UsernameTakenError:
            # Another replica seeds at the same moment.
            return False
        log.info("account.seeded", username=seed.username)
        return True

    async def _add(
        self, *, username: str, password: str, roles: list[Role], display_name: str, actor: str
    ) -> Person:
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as session:
            store = Store(session)
            person = Person(
                id=uuid.uuid4().hex,
                username=username,
                display_name=display_name,
                roles=sorted({Role.USER, *roles}, key=list(Role).index),
                uid=await store.allocate_uid(first=self._uids.first, last=self._uids.last),
                revision=1,
                created_at=self._clock.now(),
            )
            await store.add_person(person, password_hash)
            fact = PersonFact(person=person, revision=1, owner=username, actor=actor)
            self._outbox.add(session, PERSON_CREATED, person.id, fact, revision=1)
        return person


def _without_values(error: Exception) -> str:
    """Say what is wrong without the passwords that pydantic would quote."""
    if isinstance(error, ValidationError):
        return str(error.errors(include_input=False, include_url=False, include_context=False))
    return str(error)


class Seeding:
    """Makes the first accounts when the service starts; a part of the service."""

    name = "seeding"

    def __init__(self, accounts: Accounts, file: Path) -> None:
        self._accounts = accounts
        self._file = file

    async def start(self) -> None:
        """Make what is missing."""
        await self._accounts.seed(self._file)

    async def aclose(self) -> None:
        """Nothing to end."""
