"""The tool that builds images: what it reads from folders, and what it gives to a build."""

import importlib.util
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "images.py"


@pytest.fixture
def tool() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("images_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["images_tool"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["images_tool"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source as ESA Datalabs has them."""
    folder = tmp_path / "My-Datalab"
    (folder / "sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM debian:12-slim\nCOPY sub/a /\n")
    (folder / "sub" / "a").write_text("content")
    (folder / "datalab-meta.yml").write_text("title: T\nversion: 1.10\n")
    return folder


def test_a_source_of_esa_gets_the_name_that_its_catalogue_entry_looks_for(
    tool: ModuleType, source: Path
) -> None:
    found = tool.source_of(source)
    assert found.tag == "open-datalabs/my-datalab:1.10"
    assert found.parents == ["debian:12-slim"]
    (source / "datalab-meta.yml").write_text('version: "2"\nx-datalabs: {slug: other}\n')
    assert tool.source_of(source).tag == "open-datalabs/other:2"


def test_a_source_is_given_to_the_build_as_it_is(tool: ModuleType, source: Path, tmp_path: Path) -> None:
    context = tool._context(tool.source_of(source), tmp_path)
    with tarfile.open(fileobj=context) as packed:
        assert sorted(packed.getnames()) == ["Dockerfile", "datalab-meta.yml", "sub/a"]
        assert {(one.mtime, one.uid, one.uname) for one in packed.getmembers()} == {(0, 0, "")}


def test_the_notebook_gets_what_its_entries_require(tool: ModuleType, tmp_path: Path) -> None:
    (notebook,) = (one for one in tool.sources() if one.name == "notebook")
    with tarfile.open(fileobj=tool._context(notebook, tmp_path)) as packed:
        requirements = packed.extractfile("generated/requirements.txt")
        assert requirements is not None
        lines = requirements.read().decode().splitlines()
        names = packed.getnames()
    assert {"jupyterlab==4.6.6", "astropy", "georinex==1.16.2"} <= set(lines)
    assert len(lines) == len(set(lines))
    assert any(name.startswith("generated/datalabs_lab-") for name in names)


def test_every_container_entry_names_an_image_that_is_built_here(tool: ModuleType) -> None:
    tags = {one.tag for one in tool.sources()}
    entries = list(tool.CONTENT.glob("*/datalab-meta.yml"))
    named = {
        line.split("image:")[1].strip()
        for path in entries
        for line in path.read_text().splitlines()
        if "image: open-datalabs/" in line
    }
    assert named
    assert named <= tags


@pytest.mark.parametrize(
    ("word", "secret"),
    [
        ("http://user:word@proxy:3128", True),
        ("http://proxy:3128", False),
        ("https://user@host/simple", False),
        ("user:word", False),
        ("http://[broken", False),
    ],
)
def test_passwords_are_seen(tool: ModuleType, *, word: str, secret: bool) -> None:
    assert tool._has_password(word) is secret
