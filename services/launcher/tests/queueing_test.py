"""The queue by itself: order, room, backfill, what is kept free, and what people are told."""

import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import Capacity, Node, NodeState, WaitReason
from datalabs_launcher.models import Amount, Held, Waiting
from datalabs_launcher.nodes import amount, homes_of, machines_of, need_of, total
from datalabs_launcher.queueing import Plan, Rules, Wait, can_ever_fit, holds, order, plan
from datalabs_launcher.waits import expected
from datalabs_launcher.words import why_never

START = datetime(2026, 11, 2, tzinfo=UTC)
CONTAINER, PROCESS = Runtime.CONTAINER, Runtime.PROCESS
RULES = Rules(passes=3, reserve_after=timedelta(minutes=10), patience=timedelta(hours=1))


def node(name: str = "n1", **changes: Any) -> Node:
    given = {
        "name": name,
        "cluster": "test",
        "state": NodeState.READY,
        "runtimes": [PROCESS],
        "cores": 4,
        "memory_mib": 8192,
        "disk_mib": 100_000,
    }
    return Node(**{**given, **changes})


def site(*nodes: Node, away: tuple[str, ...] = ()) -> Capacity:
    return Capacity(
        cores=sum(one.cores for one in nodes),
        memory_mib=sum(one.memory_mib for one in nodes),
        cores_taken=0,
        memory_taken_mib=0,
        queued=0,
        runtimes=[PROCESS],
        nodes=list(nodes),
        away=list(away),
    )


def lab(number: int, *, owner: str = "ada", **changes: Any) -> Waiting:
    given = {
        "lab_id": f"lab{number:05}",
        "owner": owner,
        "requested_at": START + timedelta(seconds=number),
        "cores": 1.0,
        "memory_mib": 1024,
        "disk_mib": 1024,
        "runtime": PROCESS,
    }
    return Waiting(**{**given, **changes})


def running(number: int, where: str = "test/n1", **changes: Any) -> Held:
    given = {
        "lab_id": f"run{number:05}",
        "owner": "bob",
        "need": amount(1.0, 1024, 1024),
        "runtime": PROCESS,
        "place": where,
        "node": where.partition("/")[2],
        "handed_over": True,
    }
    return Held(**{**given, **changes})


def decide(
    waiting: list[Waiting],
    capacity: Capacity,
    *,
    held: list[Held] | None = None,
    own: dict[str, Wait] | None = None,
    now: datetime = START,
    rules: Rules = RULES,
) -> Plan:
    holds_now = held or []
    owners: dict[str, list[Amount]] = {}
    for one in holds_now:
        owners.setdefault(one.owner, []).append(one.need)
    return plan(
        waiting,
        machines_of(capacity, holds_now),
        holding={owner: total(amounts) for owner, amounts in owners.items()},
        now=now,
        rules=rules,
        held=own,
    )


# -- room ------------------------------------------------------------------------------------------------------------


def test_one_machine_must_have_room_not_the_sum_of_all() -> None:
    decided = decide([lab(0, cores=6)], site(node("a"), node("b")))
    assert decided.admitted == {}
    assert decided.waits["lab00000"].text == "Needs 6 cores on one node; the largest free is 4"


def test_what_each_lab_takes_of_a_disk_beside_its_own_is_counted() -> None:
    """A cluster that adds room for logs to each of them must not be handed more labs than it has such rooms for."""
    small = {"cores": 0.1, "memory_mib": 16, "disk_mib": 0}
    machine = node("n1", disk_mib=1000, lab_disk_mib=320, disk_taken_mib=640)
    two = running(0, need=amount(0.2, 32, 0), labs=2)
    decided = decide([lab(0, **small), lab(1, **small)], site(machine), held=[two])
    assert list(decided.admitted) == ["lab00000"]
    assert set(decided.waits) == {"lab00001"}


def test_a_lab_goes_where_it_leaves_the_least_so_that_large_rooms_stay() -> None:
    decided = decide(
        [lab(0), lab(1, cores=4, memory_mib=8192)], site(node("a"), node("b", cores=2, memory_mib=2048))
    )
    assert decided.admitted == {"lab00000": "test/b", "lab00001": "test/a"}


def test_machines_that_drain_are_closed_or_silent_take_nothing_new() -> None:
    for state in (NodeState.DRAINING, NodeState.CLOSED, NodeState.UNREACHABLE):
        decided = decide([lab(0)], site(node(state=state)))
        assert decided.admitted == {}
        assert decided.waits["lab00000"].reason is WaitReason.NO_MACHINE


def test_class_runtime_disk_and_devices_count() -> None:
    gpu = node("g", gpus={"A100": 2}, gpus_taken={"A100": 1}, node_class="gpu", runtimes=[CONTAINER])
    capacity = site(node("a"), gpu)
    wants = lab(0, runtime=CONTAINER, gpus=1, gpu_name="A100")
    assert decide([wants], capacity).admitted == {"lab00000": "test/g"}
    two = replace(wants, gpus=2)
    assert "A100" in decide([two], capacity).waits["lab00000"].text
    assert decide([lab(1, node_class="gpu", runtime=CONTAINER)], capacity).admitted == {"lab00001": "test/g"}
    assert decide([lab(1, node_class="big")], capacity).waits["lab00001"].reason is WaitReason.NO_MACHINE
    assert "disk" in decide([lab(1, disk_mib=200_000)], capacity).waits["lab00001"].text
    assert "memory" in decide([lab(1, memory_mib=9000)], capacity).waits["lab00001"].text


def test_devices_are_left_to_those_who_need_them() -> None:
    capacity = site(node("a", gpus={"A100": 1}), node("z", cores=8, memory_mib=65_536))
    assert decide([lab(0)], capacity).admitted == {"lab00000": "test/z"}


def test_what_we_promised_counts_before_the_cluster_knows_and_once_when_it_does() -> None:
    promised = running(0, need=amount(3, 1024, 0), node=None, handed_over=False)
    assert decide([lab(0, cores=2)], site(node()), held=[promised]).admitted == {}
    known = replace(promised, handed_over=True, node="n1")
    seen = site(node(cores_taken=3, memory_taken_mib=1024))
    assert decide([lab(0, cores=1)], seen, held=[known]).admitted == {"lab00000": "test/n1"}
    assert decide([lab(0, cores=2)], seen, held=[known]).admitted == {}
    others_too = site(node(cores_taken=4, memory_taken_mib=1024))
    assert decide([lab(0, cores=1)], others_too, held=[known]).admitted == {}


def test_labs_of_machines_that_nobody_knows_still_hold_their_memory() -> None:
    lost = running(0, "test/gone", need=amount(1, 8192, 0), node=None)
    assert decide([lab(0)], site(node()), held=[lost]).admitted == {}


def test_two_clusters_may_have_machines_of_one_name() -> None:
    local, nomad = node("host", cluster="local"), node("host", cluster="nomad", runtimes=[CONTAINER])
    mine = running(0, "nomad/host", need=amount(4, 1024, 0), runtime=CONTAINER)
    assert homes_of(site(local, nomad), [mine]) == [("nomad/host", mine)]
    assert decide([lab(0)], site(local, nomad), held=[mine]).admitted == {"lab00000": "local/host"}


def test_never_is_said_only_of_what_no_machine_could_hold() -> None:
    machines = machines_of(site(node("a", state=NodeState.DRAINING), node("b", cores=1)), [running(0)])
    assert can_ever_fit(amount(4, 8192, 0), PROCESS, None, machines)
    assert not can_ever_fit(amount(5, 1024, 0), PROCESS, None, machines)
    assert not can_ever_fit(amount(1, 1024, 0), Runtime.VM, None, machines)
    logs = machines_of(site(node("a", disk_mib=1000, lab_disk_mib=320)), [])
    assert can_ever_fit(amount(1, 1024, 680), PROCESS, None, logs)
    assert not can_ever_fit(amount(1, 1024, 681), PROCESS, None, logs)
    text = why_never(lab(0, cores=5), "Large", machines)
    assert text == "Large needs 5 cores and 1 GiB on one node; the largest has 4 cores and 8 GiB."


# -- order -----------------------------------------------------------------------------------------------------------


def names(labs: list[Waiting]) -> list[str]:
    return [one.lab_id for one in labs]


def in_order(
    waiting: list[Waiting], holding: dict[str, Amount] | None = None, now: datetime = START
) -> list[str]:
    whole = Amount(cores=16, memory_mib=65_536, disk_mib=1)
    return names(order(waiting, holding=holding or {}, whole=whole, now=now, rules=RULES))


def test_priority_then_share_then_age() -> None:
    holding = {"bob": Amount(cores=8, memory_mib=1)}
    waiting = [lab(0, owner="bob"), lab(1), lab(2), lab(3, owner="bob", priority=80)]
    assert in_order(waiting, holding) == ["lab00003", "lab00001", "lab00002", "lab00000"]


def test_owners_with_nothing_take_turns() -> None:
    waiting = [lab(0), lab(1), lab(2), lab(3, owner="bob"), lab(4, owner="bob")]
    assert in_order(waiting) == ["lab00000", "lab00003", "lab00001", "lab00004", "lab00002"]


def test_the_larger_share_counts_of_cores_and_memory() -> None:
    holding = {"ada": Amount(cores=1, memory_mib=32_768), "bob": Amount(cores=4, memory_mib=1024)}
    assert in_order([lab(0), lab(1, owner="bob")], holding) == ["lab00001", "lab00000"]


def test_after_all_patience_age_goes_first() -> None:
    holding = {"ada": Amount(cores=8, memory_mib=1)}
    waiting = [lab(0), lab(1, owner="bob"), lab(2, owner="eve", priority=51)]
    late = START + timedelta(hours=1)
    assert in_order(waiting, holding, late) == ["lab00002", "lab00000", "lab00001"]


# -- backfill and what is kept free ----------------------------------------------------------------------------------


def test_a_small_lab_passes_a_large_one_and_that_is_counted() -> None:
    decided = decide([lab(0, cores=4), lab(1)], site(node()), held=[running(0)])
    assert decided.admitted == {"lab00001": "test/n1"}
    assert decided.passed == {"lab00000": {"lab00001"}}
    assert decided.positions == {"lab00000": 1}
    assert decided.reserved == {}


def test_after_so_many_passes_a_machine_is_kept_free() -> None:
    large = lab(0, cores=4, passes=3)
    decided = decide([large, lab(1)], site(node()), held=[running(0)])
    assert decided.reserved == {"lab00000": "test/n1"}
    assert decided.admitted == {}
    assert decided.waits["lab00000"].text == (
        "Needs 4 cores on one node; the largest free is 3; n1 is kept free for it"
    )
    assert decided.waits["lab00001"].reason is WaitReason.RESERVED


def test_after_so_many_minutes_too_and_other_machines_stay_open() -> None:
    capacity = site(node("a"), node("b"))
    held = [running(0, "test/a"), running(1, "test/b"), running(2, "test/b")]
    now = START + timedelta(minutes=10)
    decided = decide([lab(0, cores=4), lab(1)], capacity, held=held, now=now)
    assert decided.reserved == {"lab00000": "test/a"}
    assert decided.admitted == {"lab00001": "test/b"}


def test_what_is_kept_stays_kept_whoever_comes_first_but_not_for_a_higher_priority() -> None:
    large = lab(5, owner="bob", cores=4, reserved_place="test/n1")
    held = [running(0)]
    assert decide([lab(0), large], site(node()), held=held).admitted == {}
    decided = decide([lab(0, priority=60), large], site(node()), held=held)
    assert decided.admitted == {"lab00000": "test/n1"}
    assert decided.reserved == {"lab00005": "test/n1"}
    assert decide([lab(0), large], site(node())).admitted["lab00005"] == "test/n1"


def test_a_kept_machine_that_drains_is_kept_no_more() -> None:
    large = lab(0, cores=4, passes=9, reserved_place="test/a")
    capacity = site(node("a", state=NodeState.DRAINING), node("b"))
    decided = decide([large], capacity, held=[running(1, "test/b")])
    assert decided.reserved == {"lab00000": "test/b"}


def test_who_waits_for_a_reason_of_its_own_keeps_its_place_and_stops_nobody() -> None:
    own = {"lab00000": Wait(reason=WaitReason.OWN_LIMIT, text="You are at your limit of 4 labs")}
    decided = decide([lab(0, cores=4, reserved_place="test/n1"), lab(1)], site(node()), own=own)
    assert decided.admitted == {"lab00001": "test/n1"}
    assert decided.positions == {"lab00000": 1}
    assert decided.waits["lab00000"].text == "You are at your limit of 4 labs"


# -- properties ------------------------------------------------------------------------------------------------------

NODES = st.lists(
    st.builds(
        lambda number, cores, gib, state, kinds: (cores, gib * 1024, state, kinds, number),
        st.integers(0, 99),
        st.integers(1, 16),
        st.integers(1, 32),
        st.sampled_from([NodeState.READY, NodeState.READY, NodeState.READY, NodeState.DRAINING]),
        st.sampled_from([[PROCESS], [PROCESS, CONTAINER], [CONTAINER]]),
    ),
    min_size=1,
    max_size=5,
)
LABS = st.lists(
    st.tuples(
        st.sampled_from([0.5, 1.0, 2.0, 4.0, 8.0]),
        st.sampled_from([512, 1024, 4096, 16_384]),
        st.sampled_from(["ada", "bob", "eve"]),
        st.sampled_from([PROCESS, CONTAINER]),
        st.sampled_from([50, 50, 50, 70]),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=20,
)


def a_site(rows: list[tuple[Any, ...]]) -> Capacity:
    return site(
        *(
            node(f"n{number}", cores=cores, memory_mib=memory, state=state, runtimes=kinds)
            for number, (cores, memory, state, kinds, _) in enumerate(rows)
        )
    )


def a_queue(rows: list[tuple[Any, ...]]) -> tuple[list[Waiting], dict[str, Wait]]:
    waiting = [
        lab(
            number,
            cores=row[0],
            memory_mib=row[1],
            owner=row[2],
            runtime=row[3],
            priority=row[4],
            passes=row[5],
        )
        for number, row in enumerate(rows)
    ]
    wait = Wait(reason=WaitReason.OWN_LIMIT, text="at the limit")
    return waiting, {one.lab_id: wait for one, row in zip(waiting, rows, strict=True) if row[6]}


@settings(max_examples=100, deadline=None)
@given(NODES, LABS)
def test_nothing_is_promised_twice_and_everybody_is_told(
    nodes: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]
) -> None:
    capacity = a_site(nodes)
    waiting, own = a_queue(rows)
    decided = decide(waiting, capacity, own=own)
    by_id = {one.lab_id: one for one in waiting}
    for one in capacity.nodes:
        here = [by_id[lab_id] for lab_id, place in decided.admitted.items() if place == f"test/{one.name}"]
        assert sum(each.cores for each in here) <= one.cores + 1e-3
        assert sum(each.memory_mib for each in here) <= one.memory_mib
        assert all(each.runtime in one.runtimes for each in here)
        assert not here or one.state is NodeState.READY
    assert sorted([*decided.admitted, *decided.positions]) == sorted(by_id)
    assert sorted(decided.positions.values()) == list(range(1, len(decided.positions) + 1))
    assert set(decided.waits) == set(decided.positions)
    assert not set(own) & set(decided.admitted)
    assert all(wait.text for wait in decided.waits.values())


@settings(max_examples=60, deadline=None)
@given(NODES, LABS, st.randoms(use_true_random=False))
def test_the_same_question_has_the_same_answer_in_whatever_order_it_is_asked(
    nodes: list[tuple[Any, ...]], rows: list[tuple[Any, ...]], shuffles: random.Random
) -> None:
    capacity = a_site(nodes)
    waiting, own = a_queue(rows)
    first = decide(waiting, capacity, own=own)
    shuffled, machines = list(waiting), list(capacity.nodes)
    shuffles.shuffle(shuffled)
    shuffles.shuffle(machines)
    assert decide(shuffled, capacity.model_copy(update={"nodes": machines}), own=own) == first


@settings(max_examples=60, deadline=None)
@given(NODES, LABS)
def test_nobody_waits_for_room_that_is_there_and_not_kept(
    nodes: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]
) -> None:
    capacity = a_site(nodes)
    waiting, own = a_queue(rows)
    decided = decide(waiting, capacity, own=own)
    machines = {machine.key: machine for machine in machines_of(capacity, ())}
    by_id = {one.lab_id: one for one in waiting}
    for lab_id, place in decided.admitted.items():
        machines[place].give(need_of(by_id[lab_id]))
    kept = set(decided.reserved.values())
    for lab_id in set(decided.positions) - set(own):
        one = by_id[lab_id]
        for machine in machines.values():
            if machine.takes and machine.key not in kept and machine.suits(one.runtime, None):
                assert not machine.has_free(need_of(one))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_nobody_starves_while_small_labs_keep_coming(seed: int, machines: int) -> None:
    """A large lab of a person with the largest share starts, however many small ones come each round."""
    dice = random.Random(seed)
    capacity = site(*(node(f"n{number}", cores=8, memory_mib=16_384) for number in range(machines)))
    rules = Rules(passes=20, reserve_after=timedelta(minutes=10), patience=timedelta(hours=1))
    large = lab(0, owner="busy", cores=8, memory_mib=16_384)
    first = running(
        9, "test/n0", need=amount(0.5, 512, 0), owner="busy", expires_at=START + timedelta(hours=2)
    )
    queue, held, number, now = [large], [first], 1, START
    ends: dict[str, datetime] = {"run00009": START + timedelta(hours=2)}
    for _ in range(400):
        now += timedelta(minutes=1)
        held = [one for one in held if ends[one.lab_id] > now]
        for _ in range(dice.randrange(0, 6)):
            queue.append(
                lab(number, owner=f"p{dice.randrange(9)}", cores=dice.choice([0.5, 1, 2]), requested_at=now)
            )
            number += 1
        decided = decide(queue, capacity, held=held, now=now, rules=rules)
        if large.lab_id in decided.admitted:
            return
        for lab_id, place in decided.admitted.items():
            one = next(each for each in queue if each.lab_id == lab_id)
            ends[lab_id] = now + timedelta(minutes=dice.randrange(5, 120))
            held.append(running(0, place, lab_id=lab_id, owner=one.owner, need=need_of(one)))
        queue = [
            replace(
                one,
                passes=one.passes + len(decided.passed.get(one.lab_id, ())),
                reserved_place=decided.reserved.get(one.lab_id),
            )
            for one in queue
            if one.lab_id not in decided.admitted
        ]
        large = next(one for one in queue if one.owner == "busy")
    raise AssertionError("the large lab never started")


def test_equal_people_get_equal_parts() -> None:
    """Two who always want more hold the same after a while, though one asked for ten times as many first."""
    capacity = site(node(cores=8, memory_mib=65_536))
    queue = [lab(number) for number in range(100)] + [lab(100 + number, owner="bob") for number in range(10)]
    decided = decide(queue, capacity)
    by_id = {one.lab_id: one for one in queue}
    owners = [by_id[lab_id].owner for lab_id in decided.admitted]
    assert (owners.count("ada"), owners.count("bob")) == (4, 4)


# -- expectation and speed -------------------------------------------------------------------------------------------


def test_the_expected_start_comes_from_who_ends_first() -> None:
    kind = ("stub", "1", "small")
    held = [
        running(0, need=amount(2, 1024, 0), started_at=START - timedelta(minutes=50), kind_of_run=kind),
        running(1, need=amount(2, 1024, 0), expires_at=START + timedelta(minutes=30)),
    ]
    capacity = site(node())
    waiting = [lab(0, cores=2, kind_of_run=kind), lab(1, cores=2), lab(2, cores=4), lab(3, cores=99)]
    found = expected(
        waiting, machines_of(capacity, held), homes_of(capacity, held), now=START, usual={kind: 3600.0}
    )
    assert found["lab00000"] == START + timedelta(minutes=10)
    assert found["lab00001"] == START + timedelta(minutes=30)
    assert found.get("lab00002") is None, "of lab00001 nothing tells when it ends"
    assert "lab00003" not in found


def test_nothing_is_guessed_when_nothing_is_known() -> None:
    capacity, held = site(node()), [running(0, need=amount(4, 1024, 0))]
    waiting = [lab(0)]
    assert expected(waiting, machines_of(capacity, held), homes_of(capacity, held), now=START, usual={}) == {}


def test_a_thousand_labs_and_a_hundred_machines_are_planned_quickly() -> None:
    dice = random.Random(1)
    capacity = site(*(node(f"n{number:03}", cores=32, memory_mib=131_072) for number in range(100)))
    waiting = [
        lab(
            number,
            owner=f"p{number % 97}",
            cores=dice.choice([1, 2, 4, 8]),
            memory_mib=dice.choice([2048, 8192, 65_536]),
        )
        for number in range(1000)
    ]
    held = [
        running(number, f"test/n{number % 100:03}", need=amount(4, 16_384, 0), owner=f"p{number % 13}")
        for number in range(600)
    ]
    machines = machines_of(capacity, held)
    began = time.process_time()
    plan(waiting, machines, holding={}, now=START, rules=RULES)
    spent = time.process_time() - began
    assert spent < 0.5, f"{spent:.3f} s"
    assert holds(machines[0], amount(32, 131_072, 0))
