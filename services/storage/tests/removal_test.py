import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalabs_storage.removal import remove_tree


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "link").symlink_to(kept)
    (tree / "file").symlink_to(kept / "file")
    os.mkfifo(tree / "pipe")
    os.link(kept / "file", tree / "hard")
    remove_tree(tree)
    assert not tree.exists()
    assert (kept / "file").read_text() == "x"


def test_what_is_not_there_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "gone")


def test_a_link_in_the_trees_place_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / "tree").symlink_to(kept)
    with pytest.raises(OSError, match="tree"):
        remove_tree(tmp_path / "tree")
    assert kept.is_dir()


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    inner = os.open(tree, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=inner)
        deeper = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    remove_tree(tree)
    assert not tree.exists()


def test_folders_without_permissions_go_too(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "locked" / "inner").mkdir(parents=True)
    (tree / "locked" / "inner" / "file").touch()
    (tree / "locked" / "inner").chmod(0)
    (tree / "locked").chmod(0)
    remove_tree(tree)
    assert not tree.exists()


NAMES = st.sampled_from(["a", "b", "c", "d"])
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=6), max_size=25)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(PATHS, PATHS)
def test_any_tree_goes(tmp_path: Path, folders: list[list[str]], files: list[list[str]]) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for parts in folders:
        try:
            tree.joinpath(*parts).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            continue
    for parts in files:
        path = tree.joinpath(*parts)
        if path.parent.is_dir() and not path.exists():
            path.touch()
    remove_tree(tree)
    assert list(tmp_path.iterdir()) == []
