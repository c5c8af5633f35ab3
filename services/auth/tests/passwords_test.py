import time

import pytest

from datalabs_auth.errors import WeakPasswordError
from datalabs_auth.passwords import Passwords, check_strength, generate_password


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(memory_kib=19_456, passes=2, at_once=2)


async def test_the_right_password_is_right_and_a_wrong_one_wrong(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "correct" not in stored
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horses")
    assert not await passwords.verify("not a hash", "correct horse")


async def test_nobodys_password_is_wrong_at_the_same_cost(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")

    async def seconds(password_hash: str | None) -> float:
        best = []
        for _ in range(5):
            began = time.process_time()
            assert not await passwords.verify(password_hash, "wrong")
            best.append(time.process_time() - began)
        return min(best)

    somebody, nobody = await seconds(stored), await seconds(None)
    assert nobody == pytest.approx(somebody, rel=0.5)


async def test_a_hash_with_other_parameters_is_outdated(passwords: Passwords) -> None:
    cheap = Passwords(memory_kib=64, passes=1, at_once=1)
    assert passwords.outdated(await cheap.hash("correct horse"))
    assert not passwords.outdated(await passwords.hash("correct horse"))


def test_a_generated_password_is_long_and_never_the_same() -> None:
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    assert {len(password) for password in made} == {16}


@pytest.mark.parametrize("password", ["short", "seven77", "hypatia1", "HYPATIA12", "aaaaaaaaaaaa"])
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(WeakPasswordError) as refusal:
        check_strength(password, username="hypatia", min_length=8)
    assert refusal.value.code == "weak_password"
    assert password not in refusal.value.detail


@pytest.mark.parametrize("password", ["eight888", "correct horse", "hypatia-secret", "пароль-пароль"])
def test_a_password_of_eight_characters_is_taken(password: str) -> None:
    check_strength(password, username="hypatia", min_length=8)
