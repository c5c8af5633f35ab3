import json
import stat
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey

from datalabs_contracts.people import Person, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import LAUNCH_LAB, RESERVE
from datalabs_runtime.identity import Identity, Signer, Verifier, authorise, make_keys

ADA = Person(
    id="1", username="ada", roles=[Role.USER], uid=20001, revision=1, created_at="2026-11-02T09:00:00Z"
)


class Time:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "identity"
    make_keys(folder)
    return folder


def key(folder: Path, service: str) -> ECKey:
    return ECKey.import_key((folder / f"{service}.key").read_text())


def verifier(folder: Path, time: Time) -> Verifier:
    return Verifier(KeySet.import_key_set(json.loads((folder / "public.jwks.json").read_text())), now=time)


def refused(check: Verifier, token: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check.verify(token)
    assert caught.value.code is ProblemCode.FORBIDDEN


def test_people_and_services_are_told_apart(folder: Path, time: Time) -> None:
    check = verifier(folder, time)
    person = check.verify(Signer("gateway", key(folder, "gateway"), now=time).for_person(ADA, "s1"))
    assert (person.username, person.uid, person.roles, person.session) == ("ada", 20001, (Role.USER,), "s1")
    assert (person.service, person.is_operator, person.owner) == (None, False, "ada")
    service = check.verify(Signer("launcher", key(folder, "launcher"), now=time).for_service("ada"))
    assert (service.username, service.service, service.act_for, service.owner) == (
        "service:launcher",
        "launcher",
        "ada",
        "ada",
    )


def test_an_assertion_ends_within_a_minute(folder: Path, time: Time) -> None:
    check = verifier(folder, time)
    token = Signer("launcher", key(folder, "launcher"), now=time).for_service()
    check.verify(token)
    time.now += 59
    check.verify(token)
    time.now += 2
    refused(check, token)
    refused(verifier(folder, time), token)


def test_an_assertion_is_used_again_for_half_its_life(folder: Path, time: Time) -> None:
    signer = Signer("gateway", key(folder, "gateway"), now=time)
    first = signer.for_person(ADA, "s1")
    time.now += 29
    assert signer.for_person(ADA, "s1") == first
    assert signer.for_person(ADA, "s2") != first
    assert signer.for_person(ADA.model_copy(update={"revision": 2}), "s1") != first
    time.now += 2
    assert signer.for_person(ADA, "s1") != first


def claims(time: Time, **more: object) -> dict[str, object]:
    return {"iss": "gateway", "sub": "ada", "iat": int(time.now), "exp": int(time.now) + 60, **more}


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "observer", "sub": "ada"},
        {"iss": "observer", "sub": "service:launcher"},
        {"iss": "nobody"},
        {"exp": 1_800_003_600},
        {"iat": 1_800_000_060, "exp": 1_800_000_100},
        {"iat": 1_799_999_000, "exp": 1_799_999_050},
        {"roles": ["king"]},
        {"sub": None},
    ],
)
def test_assertions_that_say_too_much_are_refused(folder: Path, time: Time, more: dict[str, object]) -> None:
    body = {name: value for name, value in claims(time, **more).items() if value is not None}
    signing = "observer" if body["iss"] == "observer" else "gateway"
    header = {"alg": "ES256", "kid": str(body["iss"])}
    refused(verifier(folder, time), jwt.encode(header, body, key(folder, signing)))


def test_forged_assertions_are_refused(folder: Path, time: Time) -> None:
    check = verifier(folder, time)
    good = Signer("gateway", key(folder, "gateway"), now=time).for_person(ADA, "s1")
    head, body, signature = good.split(".")
    stranger = ECKey.generate_key("P-256")
    public = (folder / "public.jwks.json").read_bytes()
    for token in (
        "",
        "x",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        jwt.encode({"alg": "ES256", "kid": "gateway"}, claims(time), stranger),
        jwt.encode({"alg": "HS256", "kid": "gateway"}, claims(time), OctKey.import_key(public)),
        # signed by a service that then names another's key
        jwt.encode({"alg": "ES256", "kid": "observer"}, claims(time), key(folder, "observer")),
    ):
        refused(check, token)


def test_who_may_call_what() -> None:
    authorise(RESERVE, Identity(username="service:launcher", service="launcher"))
    authorise(LAUNCH_LAB, Identity(username="ada"))
    for operation, identity in (
        (RESERVE, Identity(username="service:storage", service="storage")),
        (LAUNCH_LAB, None),
    ):
        with pytest.raises(ProblemError):
            authorise(operation, identity)


def test_what_may_be_seen() -> None:
    ada = Identity(username="ada", roles=(Role.USER,))
    operator = Identity(username="admin", roles=(Role.OPERATOR,))
    service = Identity(username="service:accounting", service="accounting")
    assert [who.may_see("ada") for who in (ada, operator, service)] == [True, True, True]
    assert not ada.may_see("bob")
    assert not Identity(username="service:x").may_see("ada")


def test_keys_are_private_and_stay(folder: Path) -> None:
    before = (folder / "auth.key").read_bytes()
    make_keys(folder)
    assert (folder / "auth.key").read_bytes() == before
    assert stat.S_IMODE((folder / "auth.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all("d" not in one for one in json.loads((folder / "public.jwks.json").read_text())["keys"])
