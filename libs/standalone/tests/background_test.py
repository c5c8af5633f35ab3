from datalabs_standalone.background import News


def environment(state: str, text: str = "") -> dict[str, object]:
    return {"readiness": {"datalab": "jupyterlab", "version": "4.6", "state": state, "text": text}}


def test_a_state_is_told_once() -> None:
    news = News()
    subject = "events.environment.jupyterlab.changed"
    assert news.of(subject, environment("waiting")) is None
    assert news.of(subject, environment("preparing")) == "environment jupyterlab 4.6 is preparing"
    assert news.of(subject, environment("preparing", "60 %")) is None
    assert news.of(subject, environment("ready", "done")) == "environment jupyterlab 4.6 is ready"


def test_a_failure_says_why() -> None:
    news = News()
    fact = {"collection": {"id": "iers", "available": False, "message": "checksum differs"}}
    assert news.of("events.collection.iers.changed", fact) == "collection iers: checksum differs"
    fact = {"collection": {"id": "iers", "available": True}}
    assert news.of("events.collection.iers.changed", fact) == "collection iers is ready"
