from datetime import timedelta

import pytest

from datalabs_auth.brakes import Rule, keys_of


def test_delays_begin_after_the_free_failures_and_double() -> None:
    rule = Rule(free=3, longest=timedelta(seconds=10))
    assert [rule.delay(failures).total_seconds() for failures in range(1, 9)] == [0, 0, 1, 2, 4, 8, 10, 10]
    assert rule.delay(10_000) == timedelta(seconds=10)


def test_keys_hide_what_they_are_made_of() -> None:
    keys = keys_of("ada", "192.0.2.7")
    assert len(keys.pair) == len(keys.address) == 64
    assert keys.pair != keys.address
    assert "ada" not in keys.pair


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.7", "192.0.2.8", False),
        ("not an address", "not an address", True),
        ("\udcff", "\udcff", True),
    ],
)
def test_an_ipv6_household_counts_as_one_address(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert (keys_of("ada", one).address == keys_of("ada", other).address) is same


def test_an_account_and_an_address_cannot_be_confused() -> None:
    assert keys_of("a", "b").pair != keys_of("a\0b", "").pair
