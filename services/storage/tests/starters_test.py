import os
import threading
from pathlib import Path

import pytest

from datalabs_storage.errors import StrangeFolderError
from datalabs_storage.folders import make_own
from datalabs_storage.starters import copy_starters

UID = 200_001


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_own(tmp_path / "homes", "ada", uid=UID)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "data" / "__pycache__").mkdir(parents=True)
    (folder / "start.ipynb").write_text("notebook")
    (folder / "data" / "table.csv").write_text("1,2")
    (folder / "data" / "__pycache__" / "x.pyc").write_text("")
    (folder / "data" / "link").symlink_to("/etc/passwd")
    return folder


def test_files_and_folders_are_copied_and_belong_to_the_person(
    home: Path, source: Path, owner_uid: int
) -> None:
    copied = copy_starters(
        home, "jupyterlab", [source / "start.ipynb", source / "data"], given=set(), uid=UID
    )
    assert copied == ["start.ipynb", "data/table.csv"]
    found = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert found == {"jupyterlab/start.ipynb", "jupyterlab/data/table.csv"}
    for path in home.rglob("*"):
        assert path.stat().st_uid == owner_uid
    assert (home / "jupyterlab" / "start.ipynb").stat().st_mode & 0o777 == 0o644


def test_nothing_is_ever_overwritten(home: Path, source: Path) -> None:
    (home / "lab").mkdir()
    (home / "lab" / "start.ipynb").write_text("mine")
    copy_starters(home, "lab", [source / "start.ipynb"], given=set(), uid=UID)
    assert (home / "lab" / "start.ipynb").read_text() == "mine"
    assert [path.name for path in (home / "lab").iterdir()] == ["start.ipynb"]


def test_what_was_given_and_thrown_away_stays_away_until_the_folder_goes(home: Path, source: Path) -> None:
    starters = [source / "start.ipynb"]
    copy_starters(home, "lab", starters, given=set(), uid=UID)
    (home / "lab" / "start.ipynb").unlink()
    assert copy_starters(home, "lab", starters, given={"start.ipynb"}, uid=UID) == []
    (home / "lab").rmdir()
    assert copy_starters(home, "lab", starters, given={"start.ipynb"}, uid=UID) == ["start.ipynb"]


@pytest.mark.parametrize("name", ["..", "", ".", "/etc", "a/../..", "a//b", "x" * 300, "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(home: Path, source: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no folder inside a home"):
        copy_starters(home, name, [source / "start.ipynb"], given=set(), uid=UID)


@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_no_link_of_the_home_is_followed(home: Path, source: Path, tmp_path: Path, kind: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        (home / "lab").symlink_to(elsewhere)
    elif kind == "file":
        (home / "lab").touch()
    else:
        os.mkfifo(home / "lab")
    with pytest.raises(StrangeFolderError):
        copy_starters(home, "lab", [source / "start.ipynb"], given=set(), uid=UID)
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_the_files_place_is_left_alone(home: Path, source: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (home / "lab").mkdir()
    (home / "lab" / "start.ipynb").symlink_to(victim)
    (home / "lab" / "data").symlink_to(tmp_path)
    copied = copy_starters(home, "lab", [source / "start.ipynb"], given=set(), uid=UID)
    assert copied == ["start.ipynb"]
    assert victim.read_text() == "untouched"
    with pytest.raises(StrangeFolderError):
        copy_starters(home, "lab", [source / "data"], given=set(), uid=UID)
    assert not (tmp_path / "table.csv").exists()


def test_a_person_who_swaps_folders_meanwhile_gets_nothing_written_elsewhere(
    home: Path, source: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            try:
                (home / "lab").rename(home / "aside")
                (home / "lab").symlink_to(elsewhere)
                (home / "lab").unlink()
                (home / "aside").rename(home / "lab")
            except OSError:
                continue

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(200):
            (source / f"{number}.txt").write_text("x")
            try:
                copy_starters(home, "lab", [source / f"{number}.txt"], given=set(), uid=UID)
            except StrangeFolderError:
                continue
    finally:
        stop.set()
        swapper.join()
    assert list(elsewhere.iterdir()) == []


def test_a_missing_starter_is_left_out(home: Path, source: Path) -> None:
    copied = copy_starters(
        home, "lab", [source / "gone", Path("conftest.py"), source / "start.ipynb"], given=set(), uid=UID
    )
    assert copied == ["start.ipynb"]
