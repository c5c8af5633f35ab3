import os
from pathlib import Path

import pytest

from datalabs_storage.errors import StrangeFolderError
from datalabs_storage.folders import is_root, make_own

UID = 200_001


def test_a_folder_is_private_and_stays(tmp_path: Path, owner_uid: int) -> None:
    path = make_own(tmp_path / "homes", "ada", uid=UID)
    (path / "file").write_text("kept")
    assert make_own(tmp_path / "homes", "ada", uid=UID) == path
    status = path.stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o700, owner_uid)
    assert (path / "file").read_text() == "kept"


@pytest.mark.parametrize("kind", ["link", "file", "pipe"])
def test_what_is_no_folder_is_refused(tmp_path: Path, kind: str) -> None:
    homes = tmp_path / "homes"
    homes.mkdir()
    if kind == "link":
        (homes / "ada").symlink_to(tmp_path)
    elif kind == "file":
        (homes / "ada").touch()
    else:
        os.mkfifo(homes / "ada")
    with pytest.raises(StrangeFolderError):
        make_own(homes, "ada", uid=UID)
    assert tmp_path.stat().st_uid == os.geteuid()


@pytest.mark.skipif(not is_root(), reason="only root can own files as somebody else")
def test_somebody_elses_folder_is_not_taken_over(tmp_path: Path) -> None:
    path = make_own(tmp_path / "homes", "ada", uid=UID)
    with pytest.raises(StrangeFolderError):
        make_own(tmp_path / "homes", "ada", uid=UID + 1)
    assert path.stat().st_uid == UID
