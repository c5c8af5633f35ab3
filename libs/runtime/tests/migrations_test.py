"""Each service's migrations make exactly the tables of its code."""

import importlib.util

import pytest
from sqlalchemy import NullPool, create_engine, text

from datalabs_contracts.rpc import SERVICES
from datalabs_runtime import migrations
from datalabs_testing.platform import Platform


@pytest.mark.parametrize("service", SERVICES)
async def test_migrations_and_tables_agree(platform: Platform, service: str) -> None:
    url = platform.empty_database(service)
    migrations.upgrade(service, url)
    migrations.check(service, url)
    migrations.upgrade(service, url)  # a second time there is nothing to do


async def test_a_database_behind_the_code_is_seen(platform: Platform) -> None:
    url = platform.empty_database("auth")
    with pytest.raises(migrations.OutOfDateError, match="not at"):
        migrations.check("auth", url)


async def test_a_table_without_a_migration_is_seen(platform: Platform) -> None:
    url = platform.empty_database("auth")
    migrations.upgrade("auth", url)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("ALTER TABLE inbox ADD COLUMN surprise int"))
    with pytest.raises(migrations.OutOfDateError, match="surprise"):
        migrations.check("auth", url)


def test_a_service_without_migrations_is_named() -> None:
    assert importlib.util.find_spec("datalabs_contracts")
    with pytest.raises(FileNotFoundError, match="contracts"):
        migrations.folder_of("contracts")
