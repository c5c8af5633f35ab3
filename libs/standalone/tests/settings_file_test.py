import tomllib
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from datalabs_runtime.settings import Settings, load
from datalabs_standalone import settings_file
from datalabs_standalone.described import settings_classes
from datalabs_standalone.failures import SettingsError


class TeaSettings(Settings):
    """How tea is made. More of it."""

    section: ClassVar[str] = "tea"

    leaf: str = Field(description="What is brewed.")
    minutes: float = Field(default=3.5, description="How long.")
    rest: timedelta = Field(default=timedelta(minutes=2), description="And then.")
    cups: list[int] = Field(default_factory=lambda: [1, 2], description="For whom.")
    passwords: dict[str, str] = Field(default_factory=dict, description="By guest.")


VALUES = {"tea": {"leaf": 'a "fine" one\\'}, "tea.passwords": {"ada": "x"}, "pot": {"hot": True}}


def test_all_fields_are_described_and_only_given_ones_set(tmp_path: Path) -> None:
    text = settings_file.compose(VALUES, [TeaSettings])
    assert "# How tea is made. More of it.\n[tea]" in text
    assert "# How long.\n# minutes = 3.5" in text
    assert "# rest = 120.0" in text
    assert "# cups = [1, 2]" in text
    assert tomllib.loads(text) == {
        "tea": {"leaf": 'a "fine" one\\', "passwords": {"ada": "x"}},
        "pot": {"hot": True},
    }
    file = tmp_path / "f.toml"
    file.write_text(text)
    assert load(TeaSettings, file).leaf == 'a "fine" one\\'


def test_shown_defaults_may_be_uncommented(tmp_path: Path) -> None:
    text = settings_file.compose(VALUES, [TeaSettings])
    for name in ("minutes", "rest", "cups"):
        text = text.replace(f"# {name} =", f"{name} =")
    file = tmp_path / "f.toml"
    file.write_text(text)
    assert load(TeaSettings, file).rest == timedelta(minutes=2)


def test_a_value_is_changed_in_its_place_and_nothing_else() -> None:
    text = "# mine\n[a]\nx = 1 # keep?\ny = 2\n\n[b]\nx = 3\n"
    assert settings_file.with_value(text, "b", "x", 4) == "# mine\n[a]\nx = 1 # keep?\ny = 2\n\n[b]\nx = 4\n"


def test_a_default_that_was_shown_takes_its_value() -> None:
    text = "[a]\n# How many.\n# n = 3\n\n[a.sub]\nn = 9\n"
    assert settings_file.with_value(text, "a", "n", 5) == "[a]\n# How many.\nn = 5\n\n[a.sub]\nn = 9\n"


def test_a_new_value_and_a_new_section() -> None:
    assert settings_file.with_value("[a]\nx = 1\n", "a", "y", "z") == '[a]\ny = "z"\nx = 1\n'
    assert settings_file.with_value("[a]\nx = 1", "b", "y", ["z"]) == '[a]\nx = 1\n\n[b]\ny = ["z"]\n'


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text("[a\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        settings_file.read(file)


def test_every_setting_of_every_service_is_described() -> None:
    classes = settings_classes()
    names = [(cls.section, name) for cls in classes for name in cls.model_fields]
    assert len(set(names)) == len(names)
    nameless = [
        f"{cls.section}.{name}"
        for cls in classes
        for name, field in cls.model_fields.items()
        if not field.description
    ]
    assert nameless == []
