from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from datalabs_runtime import migrations


async def test_the_migrations_make_the_tables_of_the_code(books: Any) -> None:
    migrations.check("accounting", books.database.url)


@pytest.mark.parametrize("change", ["UPDATE ledger SET cores = 0", "DELETE FROM ledger", "TRUNCATE ledger"])
async def test_the_ledger_is_append_only(books: Any, change: str) -> None:
    await books.take(books.ended(books.clock.now(), 60))
    with pytest.raises(DBAPIError, match="append-only"):
        async with books.database.transaction() as session:
            await session.execute(text(change))
