import errno
import os
from pathlib import Path

import pytest

from datalabs_standalone.failures import (
    DiskFullError,
    NewerLayoutError,
    PathTooLongError,
    RelayedError,
    StandaloneError,
    StateReadOnlyError,
    StateUnusableError,
)
from datalabs_standalone.processes import ProcessRef
from datalabs_standalone.state import RunningParts, StateFolder, take_lock, write_private, writing


def test_a_new_folder_is_private_and_has_its_version(tmp_path: Path) -> None:
    state = StateFolder.at(tmp_path / "deep" / "s")
    assert state.check_and_make(min_free_bytes=0)
    assert state.root.stat().st_mode & 0o777 == 0o700
    assert (state.root / "version").read_text() == "1\n"
    assert not state.check_and_make(min_free_bytes=0)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StateUnusableError, match=r"thesis\.tex"):
        StateFolder.at(tmp_path).check_and_make(min_free_bytes=0)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    with pytest.raises(StateUnusableError, match="not a folder"):
        StateFolder.at(file).check_and_make()


def test_a_path_under_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    with pytest.raises(StateUnusableError):
        StateFolder.at(file / "s").check_and_make()


def test_a_path_too_long_for_unix_sockets_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    state = StateFolder.at(tmp_path / ("x" * 100))
    with pytest.raises(PathTooLongError, match="Unix sockets leave room for 80"):
        state.check_and_make()
    assert not state.root.exists()


def test_a_newer_layout_is_refused(state: StateFolder) -> None:
    write_private(state.root / "version", "2\n")
    with pytest.raises(NewerLayoutError, match="layout 2"):
        state.check_and_make(min_free_bytes=0)


def test_a_garbled_version_is_refused(state: StateFolder) -> None:
    write_private(state.root / "version", "many\n")
    with pytest.raises(StateUnusableError, match="many"):
        state.check_and_make(min_free_bytes=0)


def test_a_read_only_place_is_refused() -> None:
    with pytest.raises(StateReadOnlyError, match="cannot be written"):
        StateFolder.at(Path("/sys/datalabs-state")).check_and_make()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EROFS, StateReadOnlyError),
        (errno.EACCES, StateReadOnlyError),
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.ENOTDIR, StateUnusableError),
    ],
)
def test_the_systems_refusals_become_ours(number: int, expected: type[StandaloneError]) -> None:
    with pytest.raises(expected), writing(Path("/somewhere")):
        raise OSError(number, os.strerror(number))


def test_too_little_space_is_refused(state: StateFolder) -> None:
    with pytest.raises(DiskFullError, match="MiB free"):
        state.check_and_make(min_free_bytes=1 << 60)


def test_one_supervisor_a_folder(state: StateFolder) -> None:
    first = take_lock(state)
    assert first is not None
    assert take_lock(state) is None
    os.close(first)
    second = take_lock(state)
    assert second is not None
    os.close(second)


def test_what_runs_is_remembered_and_a_torn_file_is_nothing(state: StateFolder) -> None:
    remembered = RunningParts(state.run / "parts.json")
    assert remembered.read() == {}
    parts = {"nats": ProcessRef(pid=1, started=2, boot="b")}
    remembered.write(parts)
    assert remembered.read() == parts
    remembered.file.write_text('{"nats": {"pid"')
    assert remembered.read() == {}


def test_every_failure_has_a_code_and_an_exit_status_of_its_own() -> None:
    family = [one for one in StandaloneError.__subclasses__() if one.__module__.endswith("failures")]
    family.remove(RelayedError)
    assert len({one.code for one in family}) == len(family)
    assert len({one.exit_status for one in family}) == len(family)
    assert all(one.exit_status not in {0, 1, 2} for one in family)
