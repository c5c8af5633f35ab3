from pathlib import Path

from datalabs_runtime import migrations
from datalabs_runtime.settings import PostgresSettings, load


def test_the_migrations_make_the_tables_of_the_code(config: Path) -> None:
    migrations.check("gateway", load(PostgresSettings, config).url("gateway"))
