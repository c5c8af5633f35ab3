"""Who has which block of addresses on this machine, and what becomes of the things of those who are gone."""

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalabs_launcher.local import blocks, netlink, network

FOUR = ipaddress.IPv4Network("203.0.64.0/18")
ONE = ipaddress.IPv4Network("203.0.64.0/20")
"""Blocks that no platform of this machine has, of other tests, say."""
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="addresses and packet filters are root's")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The claims of these tests alone."""
    monkeypatch.setattr(blocks, "FOLDER", tmp_path / "claims")
    return tmp_path / "claims"


@pytest.fixture
def established(tmp_path: Path) -> Iterator[network.Plan]:
    plan = network.plan_of(tmp_path / "one")
    network.establish(plan, address=plan.api_address, port=1, egress=True, refused=[])
    yield plan
    network.dissolve(plan, address=plan.api_address)


def addresses() -> set[str]:
    with netlink.Netlink() as socket:
        return {address for address, _ in netlink.taken(socket)}


def rules() -> str:
    """The packet filters of this machine, as the programs tell them that are here."""
    program = shutil.which("iptables")
    asked = [[program, "-w", "-S", "FORWARD"]] if program else []
    return "".join(subprocess.run(one, capture_output=True, text=True, check=True).stdout for one in asked)


def test_two_state_folders_never_have_one_block_though_neither_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "ALL", FOUR)
    plans = [network.plan_of(tmp_path / str(number)) for number in range(4)]
    assert len({plan.network for plan in plans}) == 4
    assert [network.plan_of(tmp_path / str(number)) for number in range(4)] == plans


def test_who_comes_when_all_is_claimed_takes_turns_and_the_first_finds_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "ALL", ONE)
    first = network.plan_of(tmp_path / "first")
    assert network.plan_of(tmp_path / "second").network == first.network
    monkeypatch.setattr(network, "ALL", ipaddress.IPv4Network("198.18.0.0/15"))
    assert network.plan_of(tmp_path / "first").network != first.network


def test_of_what_is_only_claimed_the_longest_claimed_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "ALL", FOUR)
    plans = [network.plan_of(tmp_path / str(number)) for number in range(4)]
    for age, one in enumerate(sorted(blocks.claims(), key=lambda claim: claim.name)):
        os.utime(blocks.FOLDER / f"{one.network.network_address}.json", (1000 - age, 1000 - age))
    oldest = max(plans, key=lambda plan: plan.name)
    assert network.plan_of(tmp_path / "another").network == oldest.network


def test_the_block_of_a_folder_that_is_gone_is_claimed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "ALL", ONE)
    first = network.plan_of(tmp_path / "first")
    shutil.rmtree(tmp_path / "first")
    second = network.plan_of(tmp_path / "second")
    assert second.network == first.network
    assert [one.name for one in blocks.claims()] == [second.name]
    assert network.plan_of(tmp_path / "second") == second


def test_a_folder_that_cannot_be_looked_into_keeps_its_block(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    one = blocks.Claim(network=ONE, name="0" * 8, state_folder=tmp_path / "loop")
    assert not one.lapsed


def test_a_spoilt_note_is_no_claim(folder: Path, tmp_path: Path) -> None:
    network.plan_of(tmp_path / "one")
    for number, text in enumerate(("", "[]", "{torn", '{"network": "x", "name": "y", "state_folder": "z"}')):
        (folder / f"{number}.json").write_text(text)
    assert len(blocks.claims()) == 1


def test_where_nothing_can_be_noted_platforms_still_have_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(blocks, "FOLDER", tmp_path / "file" / "claims")
    plan = network.plan_of(tmp_path / "one")
    assert network.plan_of(tmp_path / "one") == plan
    assert blocks.claims() == []


@ROOT
def test_what_a_platform_leaves_that_is_gone_is_taken_back_by_the_next(
    established: network.Plan, tmp_path: Path
) -> None:
    assert established.api_address in addresses()
    two = network.plan_of(tmp_path / "two")
    network.establish(two, address=two.api_address, port=1, egress=True, refused=[])
    try:
        assert established.api_address in addresses()  # its state folder is there: it may only be down
        shutil.rmtree(tmp_path / "one")
        network.establish(two, address=two.api_address, port=1, egress=True, refused=[])
        assert established.api_address not in addresses()
        assert str(established.network.network_address) not in addresses()
        assert str(established.network) not in rules()
        assert two.api_address in addresses()
        assert [one.name for one in blocks.claims()] == [two.name]
    finally:
        network.dissolve(two, address=two.api_address)
    assert two.api_address not in addresses()
    assert str(two.network) not in rules()


@ROOT
def test_while_a_lab_lives_its_network_stays(established: network.Plan, tmp_path: Path) -> None:
    lab = str(established.network.network_address + 7)
    with netlink.Netlink() as socket:
        netlink.add_route(socket, to=lab, index=1)
    try:
        shutil.rmtree(tmp_path / "one")
        network.take_back_lapsed()
        assert established.api_address in addresses()
    finally:
        subprocess.run(["ip", "route", "del", f"{lab}/32"], check=True)
    network.take_back_lapsed()
    assert established.api_address not in addresses()


def test_the_note_tells_an_operator_whose_block_it_is(folder: Path, tmp_path: Path) -> None:
    plan = network.plan_of(tmp_path / "one")
    [path] = folder.glob("*.json")
    assert json.loads(path.read_text()) == {
        "network": str(plan.network),
        "name": plan.name,
        "state_folder": str((tmp_path / "one").resolve()),
    }
