import os
from pathlib import Path

import pytest

from datalabs_storage.measuring import TooLargeError, measure


def test_blocks_are_counted_once_and_links_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "big").write_bytes(b"x" * 1_000_000)
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    empty = measure(folder, seconds=10)
    (folder / "inner" / "file").write_bytes(b"x" * 100_000)
    os.link(folder / "inner" / "file", folder / "same")
    (folder / "link").symlink_to(elsewhere)
    assert 100_000 <= measure(folder, seconds=10) - empty < 130_000


def test_what_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path / "gone", seconds=10) == 0


def test_time_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        measure(tmp_path, seconds=-1)
