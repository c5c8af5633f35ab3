import asyncio
from typing import Any

from datalabs_contracts.datalabs import DatalabRef


async def test_people_are_counted_once_each_whatever_is_delivered_twice(desk: Any) -> None:
    desk.write("radio")
    await desk.importer.refresh()
    told = [("e1", "ada"), ("e1", "ada"), ("e2", "ada"), ("e3", "hypatia"), ("e2", "ada")]
    await asyncio.gather(
        *(desk.popularity.launched(event_id=event, slug="radio", username=who) for event, who in told)
    )
    detail = await desk.catalogue.get(DatalabRef(slug="radio"))
    assert (detail.people, detail.revision) == (2, 3)
    assert (await desk.facts()).count("events.datalab.radio.changed") == 2


async def test_an_entry_that_nobody_knows_is_no_error(desk: Any) -> None:
    await desk.popularity.launched(event_id="e1", slug="gone", username="ada")
    assert await desk.facts() == []


async def test_a_count_survives_a_new_import(desk: Any) -> None:
    desk.write("radio")
    await desk.importer.refresh()
    await desk.popularity.launched(event_id="e1", slug="radio", username="ada")
    desk.write("radio", abstract="Changed.")
    await desk.importer.refresh()
    assert (await desk.catalogue.get(DatalabRef(slug="radio"))).people == 1
