from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from datalabs_runtime.settings import (
    NatsSettings,
    PlatformSettings,
    PostgresSettings,
    Settings,
    SettingsError,
    TelemetrySettings,
    explain,
    load,
)


class Sample(Settings):
    section: ClassVar[str] = "sample"

    cores: float = Field(default=2.0, description="Cores.")
    names: list[str] = Field(default_factory=list, description="Names.")
    table: dict[str, str] = Field(default_factory=dict, description="A table.")
    key: SecretStr | None = Field(default=None, description="A key.")
    user: str = Field(default="nobody", description="A user.")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "datalabs.toml"
    path.write_text(
        '[sample]\ncores = 4\nnames = ["a"]\ntable = { one = "1", two = "2" }\nkey = "from file"\nunknown = 1\n'
    )
    return path


def test_the_file_stands_over_defaults_and_the_environment_over_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALABS_SAMPLE_CORES", "8")
    monkeypatch.setenv("DATALABS_SAMPLE_NAMES", '["b", "c"]')
    monkeypatch.setenv("DATALABS_SAMPLE_TABLE__TWO", "3")
    loaded = load(Sample, file)
    assert (loaded.cores, loaded.names, loaded.user) == (8, ["b", "c"], "nobody")
    assert loaded.table == {"one": "1", "two": "3"}


def test_the_file_may_be_named_by_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALABS_CONFIG", str(file))
    assert load(Sample).cores == 4
    monkeypatch.delenv("DATALABS_CONFIG")
    assert load(Sample).cores == 2


def test_stray_variables_fill_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "root")
    monkeypatch.setenv("CORES", "99")
    assert Sample().user == "nobody"
    assert load(Sample).cores == 2


def test_every_value_is_explained_and_secrets_are_masked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALABS_SAMPLE_CORES", "8")
    explained = {one.name: one for one in explain(Sample, file)}
    assert explained["sample.cores"].origin == "environment DATALABS_SAMPLE_CORES"
    assert explained["sample.names"].origin == f"file {file}"
    assert explained["sample.user"].origin == "default"
    assert (explained["sample.key"].value, explained["sample.key"].secret) == ("********", True)
    assert explained["sample.cores"].description == "Cores."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[sample\n", "not valid TOML"),
        ("sample = 1\n", "not a table"),
        ("[sample]\ncores = 'many'\n", "sample.cores"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=said) as caught:
        load(Sample, path)
    assert "wrong.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml"):
        load(Sample, tmp_path / "none.toml")


def test_a_wrong_value_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[sample]\ncores = "hunter2"\n')
    with pytest.raises(SettingsError) as caught:
        load(Sample, path)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("cls", [PlatformSettings, NatsSettings, PostgresSettings, TelemetrySettings])
def test_every_field_is_described(cls: type[Settings]) -> None:
    assert all(field.description for field in cls.model_fields.values())


def test_postgres_addresses() -> None:
    settings = PostgresSettings(host="/run/pg", port=5433, passwords={"auth": SecretStr("p/w")})
    url = settings.url("auth")
    assert (url.username, url.password, url.database) == ("datalabs_auth", "p/w", "datalabs_auth")
    assert dict(url.query) == {"host": "/run/pg", "port": "5433"}
    with pytest.raises(SettingsError, match="storage"):
        settings.url("storage")
    elsewhere = PostgresSettings(urls={"auth": SecretStr("postgresql://u:p@db.example/x?sslmode=require")})
    assert str(elsewhere.url("auth").drivername) == "postgresql+psycopg"
    assert elsewhere.url("auth").query["sslmode"] == "require"


def test_nats_credentials() -> None:
    shared = NatsSettings(passwords={"auth": SecretStr("a")})
    assert shared.credentials("auth") == ("auth", "a")
    with pytest.raises(SettingsError, match="storage"):
        shared.credentials("storage")
    assert NatsSettings(user="auth", password=SecretStr("b")).credentials("auth") == ("auth", "b")


def test_platform_paths(tmp_path: Path) -> None:
    settings = PlatformSettings(state_folder=tmp_path)
    assert settings.health_socket("auth") == tmp_path / "run" / "auth.health.sock"
    assert settings.identities == tmp_path / "secrets" / "identity"
    assert settings.edge_key_file == tmp_path / "secrets" / "edge.key"
