"""While no lab lives the launcher looks for due labs rarely; any news of one wakes it."""

from datetime import UTC, datetime, timedelta

from datalabs_launcher.stillness import LOOK, Stillness

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)


def test_rests_are_long_only_while_it_is_still() -> None:
    still = Stillness()
    assert still.rest(1.0) == 1.0
    still.begin(still.news)
    assert still.rest(1.0) == LOOK
    assert still.rest(60.0) == 60.0
    still.end()
    assert still.rest(1.0) == 1.0


def test_its_end_is_told_once() -> None:
    still, told = Stillness(), list[str]()
    still.tell(lambda: told.append("over"))
    still.end()
    assert not told, "it was not still"
    still.begin(still.news)
    still.end()
    still.end()
    assert told == ["over"]
    assert still.over.is_set()


def test_news_that_come_while_the_database_is_asked_count() -> None:
    still = Stillness()
    before = still.news
    still.end()
    still.begin(before)
    assert still.rest(1.0) == 1.0


def test_the_database_is_asked_again_only_after_a_while_unless_it_is_still() -> None:
    still = Stillness()
    assert still.worth_asking(NOW)
    assert not still.worth_asking(NOW + timedelta(seconds=9))
    assert still.worth_asking(NOW + timedelta(seconds=10))
    still.begin(still.news)
    assert still.worth_asking(NOW + timedelta(seconds=11))
