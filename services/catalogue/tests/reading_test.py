import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalabs_catalogue.errors import BrokenEntryError
from datalabs_catalogue.models import Entry
from datalabs_catalogue.reading import read_entry

GOOD: dict[str, Any] = {
    "title": "A lab",
    "abstract": "What it is.",
    "contactPoint": {"email": "help@example.org"},
    "creator": {"name": "Example"},
    "version": "1.0",
}
RUNS = {"runtimes": ["process"], "process": {"command": ["true"], "requirements": ["numpy"]}}


def read(folder: Path, text: str | bytes) -> Entry:
    folder.mkdir(parents=True, exist_ok=True)
    content = text.encode() if isinstance(text, str) else text
    (folder / "datalab-meta.yml").write_bytes(content)
    return read_entry(folder, root=folder.parent, digest="0" * 64, sizes=["small", "large"])


def dumped(**ours: Any) -> str:
    return yaml.safe_dump({**GOOD, "x-datalabs": {**RUNS, **ours}})


def test_a_good_entry(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "start.ipynb").write_text("{}")
    (tmp_path / "lab" / "description.md").write_text("# Words")
    entry = read(
        tmp_path / "lab", dumped(starters=["start.ipynb"], sizes=["large", "huge"], default_size="large")
    )
    assert entry.slug == "lab"
    assert entry.description == "# Words"
    assert entry.specification.packages == ["numpy"]
    assert entry.specification.default_size == "large"


@pytest.mark.parametrize(
    ("ours", "word"),
    [
        ({"knid": "web"}, "knid"),
        ({"kind": "sculpture"}, "kind"),
        ({"slug": "No Slug"}, "slug"),
        ({"runtimes": []}, "runtimes"),
        ({"runtimes": ["vm"]}, "vm"),
        ({"process": None}, "process"),
        ({"process": {"command": []}}, "process.command"),
        ({"sizes": ["huge"]}, "sizes"),
        ({"sizes": ["small"], "default_size": "large"}, "default_size"),
        ({"starters": ["gone.ipynb"]}, "gone.ipynb"),
        ({"starters": ["../../etc/passwd"]}, "etc/passwd"),
        ({"starters": ["/etc/passwd"]}, "/etc/passwd"),
        ({"parameters": {"type": "array"}}, "object"),
        ({"parameters": {"type": "object", "properties": {"a": {"type": "nonsense"}}}}, "nonsense"),
        (
            {"parameters": {"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}},
            "default",
        ),
        ({"parameters": {"type": "object", "$ref": "https://example.org/schema.json"}}, "reference"),
        ({"port": 0}, "port"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, ours: dict[str, Any], word: str) -> None:
    with pytest.raises(BrokenEntryError, match=word.replace(".", r"\.")):
        read(tmp_path / "lab", dumped(**ours))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "- a\n- list",
        "title: [unclosed",
        "title: x\nversion: 1.0",
        "a: &a [x]\nb: [*a, *a]",
        "!!python/object/apply:os.system ['true']",
        b"title: \xff\xfe",
        "x: " * 200_000,
        "[" * 5000,
        yaml.safe_dump({**GOOD, "version": "1 0"}),
        yaml.safe_dump({**GOOD, "version": None}),
        yaml.safe_dump({**GOOD, "title": ""}),
        yaml.safe_dump({**GOOD, "abstract": "x" * 1000}),
        yaml.safe_dump({**GOOD, "contactPoint": "me"}),
    ],
)
def test_broken_files_are_refused_with_words(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(BrokenEntryError) as refused:
        read(tmp_path / "lab", text)
    assert str(refused.value)


def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(yaml.safe_dump(GOOD))
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "datalab-meta.yml").symlink_to(secret)
    with pytest.raises(BrokenEntryError):
        read_entry(folder, root=tmp_path, digest="0" * 64, sizes=["small"])


def test_a_bad_icon_is_a_remark_only(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "logo.svg").write_text("<svg")
    entry = read(tmp_path / "lab", dumped())
    assert entry.icon.startswith("<svg")
    assert "logo.svg" in entry.remarks[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from([*GOOD, "x-datalabs", "doi", "domain", "keywords"]), inner, max_size=6
            )
        ),
        max_leaves=20,
    )
)
def test_no_content_does_more_than_be_refused(tmp_path: Path, content: Any) -> None:
    with contextlib.suppress(BrokenEntryError):
        read(tmp_path / "lab", yaml.safe_dump(content))
