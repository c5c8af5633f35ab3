"""Settings: one `datalabs.toml`, the environment over it, every value described and traceable to its origin."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import URL, make_url

CONFIG_VARIABLE = "DATALABS_CONFIG"
"""Names the settings file when the caller gives none."""

S = TypeVar("S", bound="Settings")


class SettingsError(Exception):
    """The settings cannot be used; the text says which value is wrong and where it was set."""


class Settings(BaseSettings):
    """Base of all settings; a subclass names its `section` of the file and describes every field.

    Constructed directly it takes only what it is given; `load` reads the file and the environment.
    """

    section: ClassVar[str] = ""
    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_nested_delimiter="__")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what the constructor was given: a stray variable such as USER must not fill a field."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


@dataclass(frozen=True, kw_only=True)
class SettingOrigin:
    """One value, for `datalabs config`: where it comes from; a secret's value is masked."""

    name: str
    value: str
    origin: str
    description: str
    secret: bool


def load(cls: type[S], file: Path | None = None) -> S:
    """Read the class's section of the file, then `DATALABS_<SECTION>_<FIELD>` over it.

    Without `file` the variable DATALABS_CONFIG names it; without either only the environment counts.

    Raises `SettingsError` when the file cannot be read or a value does not fit.
    """
    file = file or _file_from_environment()
    from_file, from_environment = _section(cls, file), _environment(cls)
    try:
        return cls(**_merged(from_file, from_environment))
    except ValidationError as error:
        wrong = "; ".join(
            f"{_full_name(cls, str(item['loc'][0]) if item['loc'] else '')}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"{wrong} (settings file: {file or 'none'})") from None


def explain(cls: type[Settings], file: Path | None = None) -> list[SettingOrigin]:
    """Return each value of the section with its origin, secrets masked."""
    file = file or _file_from_environment()
    from_file, from_environment = _section(cls, file), _environment(cls)
    loaded = load(cls, file)
    origins: list[SettingOrigin] = []
    for name, field in cls.model_fields.items():
        if name in from_environment:
            origin = f"environment {_variable(cls, name)}"
        elif name in from_file:
            origin = f"file {file}"
        else:
            origin = "default"
        secret = "SecretStr" in str(field.annotation)
        value = getattr(loaded, name)
        shown = _masked(value) if secret else str(value)
        origins.append(
            SettingOrigin(
                name=_full_name(cls, name),
                value=shown,
                origin=origin,
                description=field.description or "",
                secret=secret,
            )
        )
    return origins


def _masked(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}=********" for key in value)
    return "********" if value else ""


def _full_name(cls: type[Settings], name: str) -> str:
    return f"{cls.section}.{name}"


def _variable(cls: type[Settings], name: str) -> str:
    return f"DATALABS_{cls.section}_{name}".upper()


def _file_from_environment() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else None


def _section(cls: type[Settings], file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {file}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the settings file {file} is not valid TOML: {error}") from None
    section = content.get(cls.section, {})
    if not isinstance(section, dict):
        raise SettingsError(f"[{cls.section}] in {file} is not a table")
    return section


def _environment(cls: type[Settings]) -> dict[str, Any]:
    source = EnvSettingsSource(cls, env_prefix=f"DATALABS_{cls.section}_", env_nested_delimiter="__")
    return source()


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


class PlatformSettings(Settings):
    """What every part of one platform agrees on."""

    section: ClassVar[str] = "platform"

    state_folder: Path = Field(description="Where the platform keeps what it owns on this machine.")
    public_url: str = Field(
        default="http://localhost:8080", description="The address people type; no trailing slash."
    )
    labs_domain: str = Field(default="localhost", description="Labs answer at <lab>.<labs_domain>.")
    labs_scheme: str = Field(default="http", description="Scheme of the labs' addresses.")
    labs_port: int = Field(default=8080, description="Port of the labs' addresses.")
    content: list[Path] = Field(default_factory=list, description="Folders with datalabs/ and collections/.")
    edge_secret_file: Path | None = Field(
        default=None, description="File with the key of the labs' secrets; state_folder/secrets/edge.key."
    )
    identity_folder: Path | None = Field(
        default=None, description="Folder of the services' keys; state_folder/secrets/identity."
    )
    sockets: Path | None = Field(
        default=None, description="Folder (0700) of the control sockets; state_folder/run."
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65_535,
        description="Port of all addresses for health and metrics, beside the Unix socket; 0: none.",
    )
    site_name: str = Field(default="Open Datalabs", description="The name in the pages' titles.")
    api_url_for_labs: str | None = Field(
        default=None, description="Where labs reach the API, when not at public_url."
    )

    @property
    def run_folder(self) -> Path:
        """Folder (0700) of the control sockets."""
        return self.sockets or self.state_folder / "run"

    @property
    def secrets_folder(self) -> Path:
        """Folder (0700) of the keys."""
        return self.state_folder / "secrets"

    @property
    def identities(self) -> Path:
        """Folder of the services' keys."""
        return self.identity_folder or self.secrets_folder / "identity"

    @property
    def edge_key_file(self) -> Path:
        """File of the key that makes the labs' secrets."""
        return self.edge_secret_file or self.secrets_folder / "edge.key"

    def health_socket(self, service: str) -> Path:
        """Return the Unix socket on which a service tells of its health."""
        return self.run_folder / f"{service}.health.sock"


class NatsSettings(Settings):
    """Where NATS is and how a service signs in; the user's name is the service's."""

    section: ClassVar[str] = "nats"

    servers: list[str] = Field(
        default_factory=lambda: ["nats://127.0.0.1:4222"], description="Addresses of the servers."
    )
    user: str = Field(default="", description="User name; the service's own name when empty.")
    password: SecretStr | None = Field(default=None, description="Password of that user.")
    passwords: dict[str, SecretStr] = Field(
        default_factory=dict, description="Passwords by user, where all services share one file."
    )
    connect_timeout: float = Field(
        default=10.0, gt=0, description="Seconds to wait for the first connection."
    )

    def credentials(self, service: str) -> tuple[str, str]:
        """Return user and password of a service.

        Raises `SettingsError` when it has none.
        """
        user = self.user or service
        password = self.password or self.passwords.get(user)
        if password is None:
            raise SettingsError(f"nats.passwords has no entry for {user}")
        return user, password.get_secret_value()


class PostgresSettings(Settings):
    """Where PostgreSQL is; role and database of a service are both `datalabs_<service>`."""

    section: ClassVar[str] = "postgres"

    host: str = Field(default="127.0.0.1", description="Host name, or the folder of the Unix socket.")
    port: int = Field(default=5432, description="Port; also part of the Unix socket's name.")
    passwords: dict[str, SecretStr] = Field(default_factory=dict, description="Passwords by service.")
    urls: dict[str, SecretStr] = Field(
        default_factory=dict, description="A whole URL by service, for databases elsewhere."
    )
    database_suffix: str = Field(default="", description="Appended to database names; for tests.")

    def url(self, service: str) -> URL:
        """Return the SQLAlchemy URL of a service's database.

        Raises `SettingsError` when the service has no password.
        """
        whole = self.urls.get(service)
        if whole is not None:
            return make_url(whole.get_secret_value()).set(drivername="postgresql+psycopg")
        password = self.passwords.get(service)
        if password is None:
            raise SettingsError(f"postgres.passwords has no entry for {service}")
        name = f"datalabs_{service}"
        is_socket = self.host.startswith("/")
        return URL.create(
            "postgresql+psycopg",
            username=name,
            password=password.get_secret_value(),
            host=None if is_socket else self.host,
            port=None if is_socket else self.port,
            database=name + self.database_suffix,
            query={"host": self.host, "port": str(self.port)} if is_socket else {},
        )


class TelemetrySettings(Settings):
    """Where traces go and how logs look."""

    section: ClassVar[str] = "telemetry"

    enabled: bool = Field(default=True, description="Whether spans are recorded at all.")
    endpoint: str = Field(
        default="", description="OTLP collector: http://host:4318 or unix:/path/of.sock; empty sends nothing."
    )
    sample_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Share of new traces kept; a caller's decision is followed."
    )
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    log_format: str = Field(default="json", description="json, or console for people.")
