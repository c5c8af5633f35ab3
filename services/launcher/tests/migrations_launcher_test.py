import asyncio

from datalabs_runtime import migrations
from datalabs_testing.platform import Platform


async def test_migrations_make_the_tables_of_the_code(platform: Platform) -> None:
    url = platform.empty_database("launcher")
    await asyncio.to_thread(migrations.upgrade, "launcher", url)
    await asyncio.to_thread(migrations.check, "launcher", url)
