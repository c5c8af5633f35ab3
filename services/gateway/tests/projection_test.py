"""Memory is the same whatever the order in which facts, snapshots and replies arrive, and however often."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from datalabs_contracts.datalabs import Citation, Collection, Kind, Readiness
from datalabs_contracts.labs import Lab, LabState
from datalabs_gateway.projection import CollectionsInMemory, LabsInMemory, ReadinessInMemory

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
IDS = ["kaaaaaaaaa", "kbbbbbbbbb", "kccccccccc"]
OWNERS = {IDS[0]: "ada", IDS[1]: "ada", IDS[2]: "bob"}


def lab(lab_id: str, revision: int, state: LabState = LabState.READY, *, deleted: bool = False) -> Lab:
    return Lab(
        id=lab_id,
        name=f"at {revision}",
        owner=OWNERS.get(lab_id, "ada"),
        datalab="jupyterlab",
        version="1",
        kind=Kind.NOTEBOOK,
        size="small",
        state=state,
        attempt=1,
        revision=revision,
        deleted=deleted,
        created_at=NOW + timedelta(seconds=IDS.index(lab_id) if lab_id in IDS else 0),
    )


def history(lab_id: str, ends: str) -> list[Lab]:
    states = [LabState.QUEUED, LabState.PREPARING, LabState.STARTING, LabState.READY]
    told = [lab(lab_id, revision, state) for revision, state in enumerate(states, 1)]
    if ends != "runs":
        told.append(lab(lab_id, 5, LabState.STOPPED))
    if ends == "deleted":
        told.append(lab(lab_id, 6, LabState.STOPPED, deleted=True))
    return told


def shown(memory: LabsInMemory) -> dict[str, Any]:
    return {
        "labs": {name: entry.lab for name in IDS if (entry := memory.entry(name))},
        "ada": [entry.lab.id for entry in memory.page("ada", include_ended=True, limit=50, after=None)[0]],
        "all": [entry.lab.id for entry in memory.page(None, include_ended=True, limit=50, after=None)[0]],
        "running": [
            entry.lab.id for entry in memory.page("ada", include_ended=False, limit=50, after=None)[0]
        ],
        "gone": [name for name in IDS if memory.is_gone(name)],
        "complete": memory.is_complete("ada"),
    }


def told(labs: Sequence[Lab]) -> dict[str, Any]:
    memory = LabsInMemory(max_ended=100)
    for one in labs:
        memory.merge(one)
    return shown(memory)


@given(
    ends=st.lists(st.sampled_from(["runs", "ends", "deleted"]), min_size=3, max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_doubled_and_shuffled_facts_give_the_same_memory(ends: list[str], order: Any) -> None:
    facts = [one for name, end in zip(IDS, ends, strict=True) for one in history(name, end)]
    expected = told(facts)
    mixed = facts + facts
    order.shuffle(mixed)
    assert told(mixed) == expected
    deleted = [name for name, end in zip(IDS, ends, strict=True) if end == "deleted"]
    assert expected["gone"] == deleted
    assert not set(deleted) & set(expected["all"])


@given(order=st.randoms(use_true_random=False), cut=st.integers(0, 12))
def test_a_snapshot_in_the_middle_of_facts_changes_nothing(order: Any, cut: int) -> None:
    facts = [one for name in IDS for one in history(name, "ends")]
    mixed = facts + facts
    order.shuffle(mixed)
    memory = LabsInMemory(max_ended=100)
    for one in mixed[:cut]:
        memory.merge(one)
    before = memory.revisions()
    snapshot = [lab(name, 3, LabState.STARTING) for name in IDS]
    for one in snapshot:
        memory.merge(one)
    memory.settle(before, set(IDS))
    for one in mixed[cut:]:
        memory.merge(one)
    assert shown(memory) == told(facts)


def test_a_snapshot_takes_out_what_is_no_more_but_not_what_came_meanwhile() -> None:
    memory = LabsInMemory(max_ended=100)
    memory.merge(lab(IDS[0], 4))
    memory.merge(lab(IDS[1], 4))
    before = memory.revisions()
    memory.merge(lab(IDS[1], 5))
    memory.merge(lab(IDS[2], 1))
    memory.settle(before, found=set())
    assert sorted(memory.revisions()) == [IDS[1], IDS[2]]


def test_old_ended_labs_leave_memory_and_their_owners_list_says_so() -> None:
    memory = LabsInMemory(max_ended=2)
    for number in range(4):
        memory.merge(lab(f"kaaaaaaaa{'abcd'[number]}", 9, LabState.STOPPED))
    assert len(memory) == 2
    assert not memory.is_complete("ada")
    assert not memory.is_complete(None)
    assert memory.is_complete("bob")


def test_a_lab_that_runs_again_is_ended_no_more() -> None:
    memory = LabsInMemory(max_ended=1)
    memory.merge(lab(IDS[0], 5, LabState.STOPPED))
    memory.merge(lab(IDS[0], 6, LabState.QUEUED))
    memory.merge(lab(IDS[1], 5, LabState.STOPPED))
    assert len(memory) == 2


def test_pages_follow_one_another_without_gap_or_repeat() -> None:
    memory = LabsInMemory(max_ended=100)
    for name in IDS:
        memory.merge(lab(name, 1))
    first, last = memory.page(None, include_ended=True, limit=2, after=None)
    second, end = memory.page(None, include_ended=True, limit=2, after=last)
    assert [entry.lab.id for entry in first + second] == [IDS[2], IDS[1], IDS[0]]
    assert end is None


def test_a_remembered_page_goes_with_the_next_change() -> None:
    memory = LabsInMemory(max_ended=100)
    memory.merge(lab(IDS[0], 1))
    memory.remember_page("ada", "first", b"page")
    memory.merge(lab(IDS[0], 1))
    memory.merge(lab(IDS[2], 1))
    assert memory.remembered_page("ada", "first") == b"page"
    memory.merge(lab(IDS[0], 2))
    assert memory.remembered_page("ada", "first") is None


@given(order=st.randoms(use_true_random=False))
def test_readiness_keeps_the_highest_revision(order: Any) -> None:
    facts = [
        Readiness(datalab="a", version="1", state="preparing", fraction=n / 9, revision=n) for n in range(9)
    ] * 2
    order.shuffle(facts)
    memory = ReadinessInMemory()
    for fact in facts:
        memory.merge(fact)
    known = memory.of("a", "1")
    assert known is not None
    assert known.revision == 8


@given(order=st.randoms(use_true_random=False))
def test_collections_keep_the_highest_revision(order: Any) -> None:
    facts = [
        Collection(
            id=name,
            title=f"{name} {revision}",
            abstract="",
            licence="CC0-1.0",
            source="",
            citation=Citation(text=""),
            path=f"/data/{name}",
            bytes=1,
            revision=revision,
        )
        for name in ("b", "a")
        for revision in range(1, 5)
    ] * 2
    order.shuffle(facts)
    memory = CollectionsInMemory()
    for fact in facts:
        memory.merge(fact)
    items, _ = memory.page(limit=5, after=None)
    assert [item.title for item in items] == ["a 4", "b 4"]
    assert [item.id for item in memory.page(limit=1, after="a")[0]] == ["b"]
