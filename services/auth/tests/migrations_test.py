from datalabs_runtime import migrations
from datalabs_runtime.database import Database


async def test_the_migrations_make_the_tables_of_the_code(db: Database) -> None:
    migrations.check("auth", db.url)
