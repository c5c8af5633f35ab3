"""The collections that ship: their descriptions hold, without fetching them."""

from pathlib import Path

from datalabs_storage.descriptions import read_descriptions

CONTENT = Path(__file__).parents[3] / "content"


def test_the_shipped_descriptions_are_whole() -> None:
    found = read_descriptions([CONTENT])
    assert set(found) == {path.stem for path in (CONTENT / "collections").glob("*.yml")}
    assert {"iers", "de421", "sun", "rinex"} <= set(found)
    for description in found.values():
        meta = description.meta
        assert meta.licence
        assert meta.citation.text
        assert meta.source.startswith("http")
        assert all("==" in (file.package or "") for file in meta.files)
