"""The search's SQL: one statement for the facets and the total, one for a page."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CTE, and_, case, func, literal, literal_column, select, true, tuple_, union_all
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import Numeric, Text

from datalabs_catalogue.models import Found, Wanted
from datalabs_catalogue.store import CARD, OFFERED, card
from datalabs_catalogue.tables import datalabs
from datalabs_catalogue.words import folded
from datalabs_contracts.datalabs import FacetValue

FACETS = ("domain", "mission", "kind", "keyword")
MOST_VALUES = 50
"""Choices of one facet, the most frequent ones."""
WEIGHTS: ColumnElement[Any] = literal_column("'{0.05, 0.2, 0.5, 1.0}'::float4[]")
"""Of description, abstract, keywords and title."""
DIGITS = 6
"""Of a rank that count: a cursor must find the same number again."""


class SearchStore:
    """Searches the offered entries."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def page(self, wanted: Wanted) -> list[Found]:
        """Return hits by relevance, then title, then slug."""
        question = _question(wanted.words)
        rank: ColumnElement[Any] = literal(Decimal(0), Numeric)
        if question is not None:
            frequency = func.ts_rank(WEIGHTS, datalabs.c.search, question).cast(Numeric)
            # What has the words in its title comes first, however often others speak of them.
            of_title = func.ts_filter(datalabs.c.search, literal_column("'{a}'::\"char\"[]"))
            named = case((of_title.op("@@", is_comparison=True)(question.self_group()), 1), else_=0)
            rank = func.round(frequency + named, DIGITS)
        statement = (
            select(*CARD, rank.label("rank"), datalabs.c.sort_title)
            .where(OFFERED, _matches(question), *(_chosen(name, wanted) for name in FACETS))
            .order_by(rank.desc(), datalabs.c.sort_title, datalabs.c.slug)
            .limit(wanted.limit)
        )
        if wanted.after is not None:
            relevance, title, slug = wanted.after
            key = tuple_(-rank, datalabs.c.sort_title, datalabs.c.slug)
            statement = statement.where(key > tuple_(literal(-Decimal(str(relevance)), Numeric), title, slug))
        return [
            Found(datalab=card(row), key=(float(row.rank), row.sort_title, row.slug))
            for row in await self._session.execute(statement)
        ]

    async def facets(self, wanted: Wanted) -> tuple[int, dict[str, list[FacetValue]]]:
        """Return the number of hits and each facet's choices.

        Choices of one facet are alternatives: a facet is counted as if nothing of it were chosen.
        """
        hits = (
            select(
                datalabs.c.domain,
                datalabs.c.mission,
                datalabs.c.kind,
                datalabs.c.keywords,
                *(_chosen(name, wanted).label(f"{name}_chosen") for name in FACETS),
            )
            .where(OFFERED, _matches(_question(wanted.words)))
            .cte("hits")
        )
        total = select(
            literal("", Text).label("facet"), literal("", Text).label("value"), func.count().label("hits")
        ).where(*(hits.c[f"{name}_chosen"] for name in FACETS))
        rows = await self._session.execute(union_all(total, *(_counted(hits, name) for name in FACETS)))
        count = 0
        facets: dict[str, list[FacetValue]] = {name: [] for name in FACETS}
        for row in rows:
            if row.facet:
                facets[row.facet].append(FacetValue(value=row.value, count=row.hits))
            else:
                count = row.hits
        for values in facets.values():
            values.sort(key=lambda each: (-each.count, each.value.casefold(), each.value))
        return count, facets

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
        return {
            word
            for text in (await self._session.execute(statement)).scalars()
            for word in folded(text).split()
        }

    async def newest_change(self) -> tuple[datetime | None, int]:
        """Return when an entry changed last and how many there are: what is derived from them is good until then."""
        statement = select(func.max(datalabs.c.changed_at), func.count())
        row = (await self._session.execute(statement)).one()
        return row[0], row[1]


def _question(words: list[str]) -> ColumnElement[Any] | None:
    """Return the text query of folded words: each as a beginning of a word, or by its English stem."""
    question: ColumnElement[Any] | None = None
    for word in words:
        beginning = func.to_tsquery(literal_column("'simple'"), f"{word}:*")
        stem = func.to_tsquery(literal_column("'english'"), word)
        part = beginning.op("||")(stem).self_group()
        question = part if question is None else question.op("&&")(part)
    return question


def _matches(question: ColumnElement[Any] | None) -> ColumnElement[bool]:
    return (
        true() if question is None else datalabs.c.search.op("@@", is_comparison=True)(question.self_group())
    )


def _chosen(facet: str, wanted: Wanted) -> ColumnElement[bool]:
    values = wanted.choices.get(facet)
    if not values:
        return true()
    if facet == "keyword":
        return datalabs.c.keywords.op("&&", is_comparison=True)(array(values).cast(ARRAY(Text)))
    return datalabs.c[facet].in_(values)


def _counted(hits: CTE, facet: str) -> Any:
    others = [hits.c[f"{name}_chosen"] for name in FACETS if name != facet]
    value = func.unnest(hits.c.keywords) if facet == "keyword" else hits.c[facet]
    each = select(value.label("value")).where(and_(*others)).subquery(f"each_{facet}")
    counted = (
        select(literal(facet, Text).label("facet"), each.c.value, func.count().label("hits"))
        .where(each.c.value != "")
        .group_by(each.c.value)
        .order_by(func.count().desc(), each.c.value)
        .limit(MOST_VALUES)
    )
    return select(counted.subquery(f"counted_{facet}"))
