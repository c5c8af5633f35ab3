"""The search's SQL: one statement for the facets and the total, one for a page.

Written out, not composed: building the expressions for each search took 6 ms, several times what the server needs.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import TextClause, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Integer, Numeric, Text

from datalabs_catalogue.models import Found, Wanted
from datalabs_catalogue.store import OFFERED, card
from datalabs_catalogue.tables import datalabs
from datalabs_catalogue.words import folded
from datalabs_contracts.datalabs import FacetValue

FACETS = ("domain", "mission", "kind", "keyword")
MOST_VALUES = 50
"""Choices of one facet, the most frequent ones."""

# Each word as the beginning of a word or by its English stem, all words together.
_QUESTION = """
WITH question AS MATERIALIZED (
  SELECT string_agg(
    '(' || (to_tsquery('simple', word || ':*') || to_tsquery('english', word))::text || ')', ' & '
  )::tsquery AS asked FROM unnest(:words) AS word
)"""
_ASKED = "search @@ (SELECT asked FROM question)"
# Weights of description, abstract, keywords and title. What has the words in its title comes first, however often
# others speak of them. Six digits count: a cursor must find the same number again.
_RANK = """round(
  ts_rank('{0.05, 0.2, 0.5, 1.0}', search, (SELECT asked FROM question))::numeric
  + (ts_filter(search, '{a}') @@ (SELECT asked FROM question))::int, 6)"""
_CHOSEN = {
    **{
        name: f"(cardinality(:{name}) = 0 OR {name} = ANY(:{name}))" for name in ("domain", "mission", "kind")
    },
    "keyword": "(cardinality(:keyword) = 0 OR keywords && :keyword)",
}
_ARRAYS = [bindparam(name, type_=ARRAY(Text)) for name in FACETS]


def _page(*, asked: bool) -> TextClause:
    statement = f"""{_QUESTION if asked else ""}
SELECT * FROM (
  SELECT slug, title, abstract, kind, domain, mission, keywords, latest_version, people, revision, sort_title,
         {_RANK if asked else "0::numeric"} AS rank
  FROM datalabs WHERE withdrawn_at IS NULL AND {_ASKED if asked else "true"}
   AND {" AND ".join(_CHOSEN.values())}
) AS hits
WHERE CAST(:rank AS numeric) IS NULL OR (-rank, sort_title, slug) > (-CAST(:rank AS numeric), :title, :slug)
ORDER BY rank DESC, sort_title, slug LIMIT :limit"""  # noqa: S608 - only the constants above
    types = [
        bindparam("rank", type_=Numeric),
        bindparam("title", type_=Text),
        bindparam("slug", type_=Text),
        bindparam("limit", type_=Integer),
    ]
    return _bound(statement, asked=asked).bindparams(*types)


def _facets(*, asked: bool) -> TextClause:
    counted = [
        f"""(SELECT '{name}', value, count(*) FROM (
  SELECT {"unnest(keywords)" if name == "keyword" else name} AS value FROM hits
  WHERE {" AND ".join(f"{other}_chosen" for other in FACETS if other != name)}
) AS each WHERE value <> '' GROUP BY value ORDER BY 3 DESC, 2 LIMIT {MOST_VALUES})"""  # noqa: S608
        for name in FACETS
    ]
    statement = f"""{_QUESTION + "," if asked else "WITH"} hits AS MATERIALIZED (
  SELECT domain, mission, kind, keywords, {", ".join(f"{_CHOSEN[name]} AS {name}_chosen" for name in FACETS)}
  FROM datalabs WHERE withdrawn_at IS NULL AND {_ASKED if asked else "true"}
)
SELECT '' AS facet, '' AS value, count(*) AS hits FROM hits
WHERE {" AND ".join(f"{name}_chosen" for name in FACETS)}
UNION ALL {" UNION ALL ".join(counted)}"""  # noqa: S608 - only the constants above
    return _bound(statement, asked=asked)


def _bound(statement: str, *, asked: bool) -> TextClause:
    words = [bindparam("words", type_=ARRAY(Text))] if asked else []
    return text(statement).bindparams(*_ARRAYS, *words)


PAGES = {asked: _page(asked=asked) for asked in (False, True)}
COUNTS = {asked: _facets(asked=asked) for asked in (False, True)}


class SearchStore:
    """Searches the offered entries."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def page(self, wanted: Wanted) -> list[Found]:
        """Return hits by relevance, then title, then slug."""
        rank, title, slug = wanted.after or (None, "", "")
        values = {
            **_values(wanted),
            "rank": None if rank is None else Decimal(str(rank)),
            "title": title,
            "slug": slug,
            "limit": wanted.limit,
        }
        rows = await self._session.execute(PAGES[bool(wanted.words)], values)
        return [Found(datalab=card(row), key=(float(row.rank), row.sort_title, row.slug)) for row in rows]

    async def facets(self, wanted: Wanted) -> tuple[int, dict[str, list[FacetValue]]]:
        """Return the number of hits and each facet's choices.

        Choices of one facet are alternatives: a facet is counted as if nothing of it were chosen.
        """
        total = 0
        facets: dict[str, list[FacetValue]] = {name: [] for name in FACETS}
        for row in await self._session.execute(COUNTS[bool(wanted.words)], _values(wanted)):
            if row.facet:
                facets[row.facet].append(FacetValue(value=row.value, count=row.hits))
            else:
                total = row.hits
        for values in facets.values():
            values.sort(key=lambda each: (-each.count, each.value.casefold(), each.value))
        return total, facets

    async def vocabulary(self) -> set[str]:
        """Return the words of titles, keywords, domains and missions of all offered entries."""
        statement = select(
            func.concat_ws(
                " ",
                datalabs.c.title,
                func.array_to_string(datalabs.c.keywords, " "),
                datalabs.c.domain,
                datalabs.c.mission,
            )
        ).where(OFFERED)
        texts = (await self._session.execute(statement)).scalars()
        return {word for each in texts for word in folded(each).split()}

    async def newest_change(self) -> tuple[datetime | None, int]:
        """Return when an entry changed last and how many there are: what is derived from them holds until then."""
        statement = select(func.max(datalabs.c.changed_at), func.count())
        row = (await self._session.execute(statement)).one()
        return row[0], row[1]


def _values(wanted: Wanted) -> dict[str, Any]:
    values: dict[str, Any] = {name: wanted.choices.get(name, []) for name in FACETS}
    return values | {"words": wanted.words} if wanted.words else values
