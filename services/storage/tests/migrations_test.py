from typing import Any

from datalabs_runtime import migrations


async def test_the_migrations_make_the_tables_of_the_code(database: Any) -> None:
    db = await database("storage")
    migrations.check("storage", db.url)
