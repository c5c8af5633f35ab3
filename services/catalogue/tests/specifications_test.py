from typing import Any

import pytest

from datalabs_catalogue.collections import CollectionsMirror
from datalabs_contracts.base import PageQuery
from datalabs_contracts.datalabs import Citation, Collection, Runtime, SpecificationQuery
from datalabs_contracts.problems import ProblemCode, ProblemError

PARAMETERS = {"type": "object", "properties": {"years": {"type": "number", "default": 3}}}


@pytest.fixture
async def filled(desk: Any) -> Any:
    desk.write("radio", ours={"parameters": PARAMETERS, "collections": ["sun"], "default_size": "large"})
    desk.write("small-only", ours={"sizes": ["small"]})
    await desk.importer.refresh()
    return desk


async def refused(desk: Any, **query: Any) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        await desk.specifications.specify(SpecificationQuery(**query))
    error: ProblemError = caught.value
    return error


async def test_defaults_are_filled(filled: Any) -> None:
    found = await filled.specifications.specify(SpecificationQuery(datalab="radio"))
    assert (found.version, found.size.name, found.parameters) == ("1.0", "large", {"years": 3})
    assert found.collections == ["sun"]
    assert found.runtimes.order == [Runtime.PROCESS]


async def test_a_datalab_may_bound_the_sizes(desk: Any) -> None:
    desk.write("hungry", ours={"bounds": {"min_memory_mib": 1024}})
    desk.write("modest", ours={"bounds": {"max_cores": 1}})
    desk.write("impossible", ours={"bounds": {"min_gpus": 1}})
    await desk.importer.refresh()
    for datalab, size in (("hungry", "large"), ("modest", "small"), ("impossible", "large")):
        found = await desk.specifications.specify(SpecificationQuery(datalab=datalab))
        assert found.size.name == size
    assert (await refused(desk, datalab="hungry", size="small")).code is ProblemCode.UNKNOWN_SIZE


async def test_choices_count(filled: Any) -> None:
    query = SpecificationQuery(
        datalab="radio", version="1.0", size="small", parameters={"years": 5}, collections=["iers", "iers"]
    )
    found = await filled.specifications.specify(query)
    assert (found.size.name, found.parameters, found.collections) == ("small", {"years": 5}, ["iers"])


async def test_unknown_names_have_their_codes(filled: Any) -> None:
    assert (await refused(filled, datalab="gone")).code == ProblemCode.UNKNOWN_DATALAB
    assert (await refused(filled, datalab="radio", version="9")).code == ProblemCode.UNKNOWN_VERSION
    assert (await refused(filled, datalab="radio", size="huge")).code == ProblemCode.UNKNOWN_SIZE
    error = await refused(filled, datalab="small-only", size="large")
    assert (error.code, error.extra["offered"]) == (ProblemCode.UNKNOWN_SIZE, ["small"])


async def test_parameters_that_do_not_fit_are_told_by_pointer(filled: Any) -> None:
    error = await refused(filled, datalab="radio", parameters={"years": "many", "colour": "red"})
    assert error.code == ProblemCode.INVALID_PARAMETERS
    assert {each.pointer for each in error.errors} == {"/parameters/years", "/parameters/colour"}
    assert (await refused(filled, datalab="small-only", parameters={"x": 1})).errors[
        0
    ].pointer == "/parameters/x"


async def test_collections_are_checked_once_storage_was_heard(filled: Any) -> None:
    query = SpecificationQuery(datalab="radio", collections=["nowhere"])
    assert (await filled.specifications.specify(query)).collections == ["nowhere"]
    mirror = CollectionsMirror(database=filled.database, ask=None)
    await mirror.changed(
        Collection(
            id="iers", title="", abstract="", licence="", source="", citation=Citation(text=""),
            path="/data/iers", bytes=0, revision=1,
        )
    )  # fmt: skip
    assert (
        await refused(filled, datalab="radio", collections=["nowhere"])
    ).code == ProblemCode.UNKNOWN_COLLECTION
    assert (
        await filled.specifications.specify(SpecificationQuery(datalab="radio", collections=["iers"]))
    ).collections


async def test_environments_are_the_latest_versions(filled: Any) -> None:
    filled.write("radio", version="2.0")
    await filled.importer.refresh()
    first = await filled.specifications.environments(PageQuery(limit=1))
    rest = await filled.specifications.environments(PageQuery(limit=1, cursor=first.next))
    assert [(each.datalab, each.version) for each in [*first.items, *rest.items]] == [
        ("radio", "2.0"),
        ("small-only", "1.0"),
    ]
    assert rest.next is None
