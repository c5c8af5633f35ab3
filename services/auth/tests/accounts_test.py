import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from datalabs_auth.accounts import Seeding
from datalabs_auth.errors import NoUidLeftError
from datalabs_contracts.people import CreatePerson, PeopleQuery, PersonQuery, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_runtime.identity import Identity

OPERATOR = Identity(username="admin", roles=(Role.USER, Role.OPERATOR))
PASSWORD = "correct horse"
HYPATIA = Identity(username="hypatia", roles=(Role.USER,))
LAUNCHER = Identity(username="service:launcher", service="launcher")


def new(username: str, password: str | None = PASSWORD) -> CreatePerson:
    return CreatePerson(
        username=username, password=SecretStr(password) if password else None, roles=[Role.USER]
    )


async def test_an_operator_makes_an_account_and_it_is_told(desk: Any) -> None:
    created = await desk.accounts.create(new("hypatia"), caller=OPERATOR)
    assert created.password is None
    assert created.person.roles == [Role.USER]
    assert created.person.uid == 200_000
    assert await desk.facts() == [f"events.person.{created.person.id}.created"]


async def test_a_password_is_made_when_none_is_given(desk: Any) -> None:
    created = await desk.accounts.create(new("hypatia", None), caller=OPERATOR)
    assert created.password is not None
    signed_in = await desk.sessions.sign_in(desk.attempt(password=created.password))
    assert signed_in.session.person == created.person


async def test_only_operators_make_and_list_accounts(desk: Any) -> None:
    with pytest.raises(ProblemError) as refusal:
        await desk.accounts.create(new("eve"), caller=HYPATIA)
    assert refusal.value.code is ProblemCode.FORBIDDEN
    with pytest.raises(ProblemError) as refusal:
        await desk.accounts.page(PeopleQuery(), caller=HYPATIA)
    assert refusal.value.code is ProblemCode.FORBIDDEN


async def test_a_taken_name_is_refused_and_costs_no_uid(desk: Any) -> None:
    await desk.person("hypatia")
    with pytest.raises(ProblemError) as refusal:
        await desk.accounts.create(new("hypatia"), caller=OPERATOR)
    assert refusal.value.code is ProblemCode.USERNAME_TAKEN
    assert (await desk.person("kepler")).uid == 200_001


async def test_a_weak_password_is_refused(desk: Any) -> None:
    with pytest.raises(ProblemError) as refusal:
        await desk.accounts.create(new("hypatia", "short"), caller=OPERATOR)
    assert refusal.value.code is ProblemCode.WEAK_PASSWORD


async def test_accounts_made_at_once_get_uids_of_their_own(desk: Any) -> None:
    people = await asyncio.gather(*(desk.person(f"person{number:02d}") for number in range(12)))
    assert sorted(person.uid for person in people) == list(range(200_000, 200_012))


async def test_the_end_of_the_uid_range_is_an_error_of_the_site(desk: Any) -> None:
    for number in range(100):
        await desk.person(f"person{number:02d}")
    with pytest.raises(NoUidLeftError):
        await desk.person("onemore")


async def test_people_are_listed_by_name_page_by_page(desk: Any) -> None:
    names = ["galileo", "hypatia", "kepler", "tycho", "ulugh-beg"]
    for name in reversed(names):
        await desk.person(name)
    seen: list[str] = []
    cursor = None
    while True:
        page = await desk.accounts.page(PeopleQuery(limit=2, cursor=cursor), caller=OPERATOR)
        seen += [person.username for person in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == names


async def test_one_sees_oneself_and_nobody_else(desk: Any) -> None:
    person = await desk.person("hypatia")
    await desk.person("kepler")
    assert await desk.accounts.get(PersonQuery(username="hypatia"), caller=HYPATIA) == person
    assert await desk.accounts.get(PersonQuery(username="hypatia"), caller=LAUNCHER) == person
    for name in ("kepler", "nobody-here"):
        with pytest.raises(ProblemError) as refusal:
            await desk.accounts.get(PersonQuery(username=name), caller=HYPATIA)
        assert refusal.value.code is ProblemCode.NOT_FOUND


async def test_seeding_makes_what_is_missing_and_never_overwrites(desk: Any, tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"

    def write(password: str) -> None:
        accounts = [
            {"username": "admin", "password": password, "roles": ["operator"], "display_name": "Operator"},
            {"username": "ada", "password": password, "roles": ["user"]},
        ]
        file.write_text(json.dumps({"accounts": accounts, "subscriber": {"password": "x"}}))

    write("first password")
    await Seeding(desk.accounts, file).start()
    write("second password")
    assert await desk.accounts.seed(file) == 0
    signed_in = await desk.sessions.sign_in(desk.attempt("admin", "first password"))
    assert signed_in.session.person.roles == [Role.USER, Role.OPERATOR]
    assert signed_in.session.person.display_name == "Operator"
    await desk.sessions.sign_in(desk.attempt("ada", "first password"))


@pytest.mark.parametrize("content", [None, "not json", '{"accounts": [{"username": "-bad"}]}'])
async def test_an_unusable_seed_file_does_not_stop_the_service(
    desk: Any, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "accounts.json"
    if content is not None:
        file.write_text(content)
    assert await desk.accounts.seed(file) == 0
