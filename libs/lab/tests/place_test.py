from pathlib import Path

import pytest

import datalabs_lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("media/home", "media/scratch", "data/iers", "data/de421"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setenv("DATALABS_ROOT", str(tmp_path))
    monkeypatch.setenv("DATALABS_LAB_ID", "k3v9x2mmpq")
    monkeypatch.setenv("DATALABS_TOKEN_FILE", str(tmp_path / "token"))
    return tmp_path


def test_collections_by_id(lab: Path) -> None:
    assert datalabs_lab.collections() == {"de421": lab / "data/de421", "iers": lab / "data/iers"}


def test_the_token_is_read_anew_each_time(lab: Path) -> None:
    assert datalabs_lab.token() == "first"
    (lab / "token").write_text("second\n")
    assert datalabs_lab.token() == "second"


def test_home_and_scratch(lab: Path) -> None:
    assert datalabs_lab.home() == lab / "media/home"
    assert datalabs_lab.scratch() == lab / "media/scratch"


def test_outside_a_lab_everything_stays_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATALABS_ROOT", "DATALABS_LAB_ID", "DATALABS_TOKEN_FILE", "TRACEPARENT"):
        monkeypatch.delenv(name, raising=False)
    assert datalabs_lab.collections() == {}
    assert datalabs_lab.token() is None
    assert datalabs_lab.lab_id() is None
    assert datalabs_lab.scratch() is None
    assert datalabs_lab.home() == Path.home()
    with datalabs_lab.span("nothing happens"):
        pass
