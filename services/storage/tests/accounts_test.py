"""Who a person is inside a container: their own line in `passwd` and `group`, which is not theirs to change."""

import os
from pathlib import Path

import pytest

from datalabs_storage.accounts import keep_account

UID = 200_001


def keep(parent: Path) -> Path:
    return keep_account(parent, "ada", uid=UID, home="/media/home")


def test_a_person_has_a_name_a_group_and_a_home(tmp_path: Path) -> None:
    account = keep(tmp_path / "accounts")
    assert account == tmp_path / "accounts" / "ada"
    passwd, group = ((account / name).read_text().splitlines() for name in ("passwd", "group"))
    assert passwd[0] == f"ada:x:{UID}:{UID}:ada:/media/home:/bin/bash"
    assert group[0] == f"ada:x:{UID}:"
    assert {line.split(":")[0] for line in passwd[1:]} == {"root", "nobody"}


def test_nobody_but_the_platform_may_change_it(tmp_path: Path) -> None:
    account = keep(tmp_path / "accounts")
    for path in (account.parent, account, account / "passwd", account / "group"):
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o022) == (os.geteuid(), 0)


def test_a_good_one_is_left_alone(tmp_path: Path) -> None:
    files = [keep(tmp_path) / name for name in ("passwd", "group")]
    before = [file.stat().st_ino for file in files]
    keep(tmp_path)
    assert [file.stat().st_ino for file in files] == before


def test_a_lost_or_an_old_one_is_put_right(tmp_path: Path) -> None:
    account = keep(tmp_path)
    passwd, group = account / "passwd", account / "group"
    text = passwd.read_text()
    passwd.unlink()
    group.chmod(0o600)
    group.write_text("of an older release")
    keep(tmp_path)
    assert passwd.read_text() == text
    assert group.read_text().startswith("ada:")
    assert group.stat().st_mode & 0o777 == 0o444
    assert sorted(path.name for path in account.iterdir()) == ["group", "passwd"]


def test_what_stands_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "accounts").touch()
    with pytest.raises(OSError, match="accounts"):
        keep(tmp_path / "accounts")
