"""Alembic for each service's own database; `migrations/env.py` is one line that calls `run_env`."""

import importlib
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, MetaData, NullPool, create_engine

FILE_TEMPLATE = "%%(year)d%%(month).2d%%(day).2d_%%(hour).2d%%(minute).2d_%%(slug)s"


class OutOfDateError(Exception):
    """The tables of the code and the migrations disagree, or the database is not at the newest migration."""


def folder_of(service: str) -> Path:
    """Return the folder with a service's migrations: beside its sources, or inside an installed package."""
    package = Path(str(importlib.import_module(f"datalabs_{service}").__file__)).parent
    for folder in (package / "migrations", package.parents[1] / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise FileNotFoundError(f"datalabs_{service} has no migrations")


def upgrade(service: str, url: URL) -> None:
    """Bring a service's database to the newest migration."""
    config = configuration(service, url)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_heads()
    if set(current) == set(ScriptDirectory.from_config(config).get_heads()):
        return
    command.upgrade(config, "head")


def check(service: str, url: URL) -> None:
    """Compare the migrated database with the tables of the code.

    Raises `OutOfDateError` with the differences.
    """
    config = configuration(service, url)
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        migration = MigrationContext.configure(connection, opts={"compare_type": True})
        heads = set(ScriptDirectory.from_config(config).get_heads())
        if set(migration.get_current_heads()) != heads:
            raise OutOfDateError(f"{service}: the database is not at {sorted(heads)}")
        differences = compare_metadata(migration, metadata_of(service))
    if differences:
        raise OutOfDateError(f"{service}: a migration is missing for {differences}")


def metadata_of(service: str) -> MetaData:
    """Return the tables of a service."""
    tables: Any = importlib.import_module(f"datalabs_{service}.tables")
    metadata: MetaData = tables.Base.metadata
    return metadata


def configuration(service: str, url: URL) -> Config:
    """Return Alembic's configuration, without any ini file."""
    config = Config()
    config.set_main_option("script_location", str(folder_of(service)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", FILE_TEMPLATE)
    config.attributes["url"] = url
    return config


def run_env(service: str) -> None:
    """Run the migrations that Alembic asks for; called by each service's `migrations/env.py`."""
    engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata_of(service),
            compare_type=True,
            transaction_per_migration=False,
        )
        with context.begin_transaction():
            context.run_migrations()
