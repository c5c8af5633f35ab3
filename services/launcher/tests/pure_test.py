"""What needs neither database nor cluster."""

import itertools
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalabs_contracts.datalabs import (
    ContainerRuntime,
    Kind,
    ProcessRuntime,
    Runtime,
    Runtimes,
)
from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.commands import Fields, fill, fill_command, fill_environment
from datalabs_launcher.ends import KEPT_BYTES, judge, kept_lines, last_lines
from datalabs_launcher.expiry import outlook
from datalabs_launcher.models import AttemptRecord, Moment
from datalabs_launcher.placement import Site, choose_runtime, open_path
from datalabs_launcher.scheduler import JobEnd, Step
from datalabs_launcher.timeline import phases_of, step_documents, timeline_of, usual
from datalabs_launcher.tokens import write_private
from datalabs_launcher.views import within

from .records import running_lab

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
FIELDS = Fields(
    port=20_001,
    address="127.1.2.3",
    lab_id="abcdefghjk",
    home="/media/home",
    scratch="/media/scratch",
    data="/data",
    source="/content/x",
    origin="http://abcdefghjk.localhost:8080",
    parameters={"of": "the moon; rm -rf /", "n": 3, "on": True, "trick": "{port}", "{x}": 1},
)


def test_commands_are_filled_once_and_arguments_stay_arguments() -> None:
    command = ["run", "--port={port}", "{address}", "{parameters[of]}", "{parameters[trick]}", "{host}"]
    assert fill_command(command, FIELDS) == [
        "run", "--port=20001", "127.1.2.3", "the moon; rm -rf /", "{port}", "abcdefghjk.localhost",
    ]  # fmt: skip
    assert fill_environment({"A": "{home}:{scratch}:{data}:{source}:{origin}"}, FIELDS) == {
        "A": "/media/home:/media/scratch:/data:/content/x:http://abcdefghjk.localhost:8080"
    }
    assert fill("{parameters[n]} {parameters[on]} [{parameters[missing]}]", FIELDS) == "3 true []"


def test_other_braces_are_the_authors_own() -> None:
    text = '{"a": {"b": 1}} ${HOME} {unknown} {{port}} {}'
    assert fill(text, FIELDS) == text.replace("{port}", "20001")


@given(st.text(max_size=60))
def test_a_parameter_is_never_read_as_a_field(value: str) -> None:
    fields = replace(FIELDS, parameters={"x": value})
    assert fill("[{parameters[x]}]", fields) == f"[{value}]"


@pytest.mark.parametrize(
    ("end", "given", "state", "reason"),
    [
        ({"exit_code": 0}, {"batch": True}, LabState.STOPPED, Reason.COMPLETED),
        ({"exit_code": 1}, {"batch": True}, LabState.FAILED, Reason.CRASHED),
        ({"exit_code": 0}, {"was_ready": False}, LabState.FAILED, Reason.CRASHED),
        ({"exit_code": 0}, {}, LabState.STOPPED, Reason.COMPLETED),
        ({"exit_code": None, "signal": 9}, {}, LabState.FAILED, Reason.CRASHED),
        ({"exit_code": None, "signal": 9, "out_of_memory": True}, {}, LabState.FAILED, Reason.OUT_OF_MEMORY),
        ({"exit_code": 1, "disk_full": True}, {}, LabState.FAILED, Reason.DISK_FULL),
        ({"exit_code": 1, "pids_exceeded": True}, {}, LabState.FAILED, Reason.PIDS_EXCEEDED),
        ({"exit_code": None, "node_lost": True}, {}, LabState.FAILED, Reason.NODE_LOST),
        ({"exit_code": 143, "preempted": True, "asked": True}, {}, LabState.FAILED, Reason.PREEMPTED),
        ({"exit_code": None, "volume_unavailable": True}, {}, LabState.FAILED, Reason.VOLUME_UNAVAILABLE),
        (
            {"exit_code": None, "image_unavailable": True, "text": "x:1 is not in the registry"},
            {"was_ready": False},
            LabState.FAILED,
            Reason.IMAGE_UNAVAILABLE,
        ),
        ({"exit_code": 0, "asked": True}, {}, LabState.STOPPED, Reason.STOPPED_BY_OPERATOR),
        ({"exit_code": 0, "asked": True}, {"asked": Reason.IDLE}, LabState.STOPPED, Reason.IDLE),
        (
            {"exit_code": 0, "asked": True},
            {"asked": Reason.START_TIMEOUT},
            LabState.FAILED,
            Reason.START_TIMEOUT,
        ),
        (
            {"exit_code": 0},
            {"asked": Reason.STOPPED_BY_USER, "batch": True},
            LabState.STOPPED,
            Reason.COMPLETED,
        ),
    ],
)
def test_every_end_has_its_reason(
    end: dict[str, Any], given: dict[str, Any], state: LabState, reason: Reason
) -> None:
    asked = {"asked": None, "message": "", "batch": False, "was_ready": True, **given}
    verdict = judge(JobEnd(ended_at=START, **end), **asked)
    assert (verdict.state, verdict.reason) == (state, reason)
    assert verdict.message


def test_logs_are_kept_within_their_bounds() -> None:
    assert kept_lines(["a", "b"]) == (["a", "b"], False)
    lines, cut = kept_lines([f"{number}" for number in range(500)])
    assert (len(lines), lines[-1], cut) == (200, "499", True)
    lines, cut = kept_lines(["x" * 50_000] * 10)
    assert sum(len(line) + 1 for line in lines) <= KEPT_BYTES
    assert cut
    assert kept_lines(["a\x00b"]) == (["ab"], False)
    assert len(last_lines([str(number) for number in range(99)])) == 20


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def moment(seconds: float, state: LabState, phase: str) -> Moment:
    return Moment(at=at(seconds), state=state, phase=phase)


LAUNCH = [
    moment(0, LabState.QUEUED, "queued"),
    moment(1, LabState.PREPARING, "volumes"),
    moment(2, LabState.PREPARING, "environment"),
    moment(4, LabState.PREPARING, "placing"),
    moment(5, LabState.STARTING, "placing"),
    moment(5.5, LabState.STARTING, "starting"),
    moment(6, LabState.STARTING, "probing"),
    moment(9, LabState.READY, ""),
    moment(50, LabState.STOPPING, ""),
    moment(51, LabState.STOPPED, ""),
]


def test_phases_touch_and_end_at_ready() -> None:
    phases = phases_of(LAUNCH)
    assert [phase.name for phase in phases] == [
        "queued", "volumes", "environment", "placing", "starting", "probing",
    ]  # fmt: skip
    assert phases[3].ended_at == at(5.5)
    assert phases[-1].ended_at == at(9)
    attempt = AttemptRecord(
        lab_id="abcdefghjk",
        attempt=1,
        job_id=None,
        requested_at=START,
        ready_at=at(9),
        traceparent="00-t-s-01",
    )
    timeline = timeline_of(attempt, LAUNCH, now=at(99))
    assert timeline.seconds == sum(phase.seconds for phase in timeline.phases) == 9


def test_the_schedulers_steps_stand_in_the_phase_in_which_they_began() -> None:
    steps = (
        ("setup", 5.6, 5.9),
        ("started", 6, 6),
        ("boot", 6, 8.5),
        ("stopping", 50, 51),
        ("ended", 51, 51),
    )
    documents = step_documents(
        [Step(name=name, started_at=at(began), ended_at=at(ended)) for name, began, ended in steps]
    )
    attempt = AttemptRecord(
        lab_id="abcdefghjk", attempt=1, job_id=None, requested_at=START, ready_at=at(9), steps=documents
    )
    found = {phase.name: phase for phase in timeline_of(attempt, LAUNCH, now=at(99)).phases}
    assert [step.name for step in found["starting"].steps] == ["setup", "started"]
    assert [step.name for step in found["probing"].steps] == ["boot"]
    assert not found["queued"].steps


def test_a_launch_that_failed_has_its_phases_up_to_the_end() -> None:
    phases = phases_of([*LAUNCH[:3], moment(7, LabState.FAILED, "")])
    assert phases[-1].name == "environment"
    assert phases[-1].ended_at == at(7)


@given(
    st.lists(
        st.tuples(
            st.floats(-5, 100),
            st.sampled_from([LabState.QUEUED, LabState.PREPARING, LabState.STARTING]),
            st.sampled_from(["queued", "volumes", "starting", "probing"]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_phases_never_overlap_whatever_the_clocks_say(rows: list[tuple[float, LabState, str]]) -> None:
    phases = phases_of([moment(*row) for row in rows])
    for before, after in itertools.pairwise(phases):
        assert before.ended_at == after.started_at
        assert before.started_at <= after.started_at
        assert before.name != after.name
    assert phases[-1].ended_at is None


def test_usual_is_the_median_of_each_phase() -> None:
    assert usual([]) == {}
    built, quick = {"environment": 90.0, "probing": 1.0, "total": 91.0}, {"probing": 3.0, "total": 3.0}
    assert usual([built], without={"environment"}) == {"probing": 1.0, "total": 1.0}
    assert usual([built, quick], without={"environment", "queued"}) == {"probing": 2.0, "total": 2.0}
    assert usual([{"a": 1.0}, {"a": 3.0, "b": 2.0}, {"a": 9.0}]) == {"a": 3.0, "b": 0.0}


def test_expiry_is_told_at_fifteen_and_five_minutes() -> None:
    lab = running_lab(START, expires_at=at(3600))
    assert outlook(lab, at(0)).due_at == at(2700)
    told = outlook(lab, at(2700))
    assert (told.minutes, told.reason, told.end) == (15, Reason.EXPIRED, False)
    lab = replace(lab, noticed_minutes=15)
    assert outlook(lab, at(2701)).minutes is None
    assert outlook(lab, at(2701)).due_at == at(3300)
    assert outlook(lab, at(3301)).minutes == 5
    assert outlook(lab, at(3600)).end
    assert outlook(replace(lab, expires_at=at(9000)), at(3300)).reset


def test_idle_time_does_not_grow_when_the_clock_is_set_and_an_expiry_stays_where_it_was() -> None:
    lab = running_lab(START, idle_minutes=60)
    an_hour_on = at(4800)
    assert outlook(lab, an_hour_on).end
    rules = outlook(lab, an_hour_on, moved=lambda moment: moment + timedelta(hours=1))
    assert (rules.end, rules.ends_at) == (False, at(7200))
    kept = running_lab(START, expires_at=at(3600))
    assert outlook(kept, an_hour_on, moved=lambda moment: moment + timedelta(hours=1)).end


def test_a_short_life_is_not_announced_before_it_began() -> None:
    assert outlook(running_lab(START, expires_at=at(600)), at(0)).minutes is None
    assert outlook(running_lab(START, expires_at=at(600)), at(301)).minutes == 5
    assert outlook(running_lab(START, expires_at=at(60)), at(1)).minutes is None


def test_the_earlier_rule_wins_and_zero_minutes_mean_never() -> None:
    lab = running_lab(START, expires_at=at(7200), idle_minutes=30)
    assert outlook(lab, at(1800)).reason is Reason.IDLE
    assert outlook(replace(lab, last_active_at=at(7000)), at(7200)).reason is Reason.EXPIRED
    assert outlook(running_lab(START, idle_minutes=0), at(10**7)) == outlook(
        running_lab(START, idle_minutes=0), at(0)
    )


def test_a_desktop_is_entered_by_the_gateways_page() -> None:
    site = Site(scheme="http", domain="localhost", port=8080, api_url="", edge_key=b"k")
    assert open_path(running_lab(START), site=site) == "/"
    desktop = running_lab(START, kind=Kind.DESKTOP)
    assert open_path(desktop, site=site) == "/.datalabs/desktop"
    own = {**desktop.specification_document, "open_path": "/vnc.html"}
    assert open_path(replace(desktop, specification_document=own), site=site) == "/vnc.html"


def test_origins_name_a_port_only_when_it_is_unusual() -> None:
    site = Site(scheme="https", domain="labs.example", port=443, api_url="", edge_key=b"k")
    assert site.origin("abc") == "https://abc.labs.example"
    assert replace(site, port=8443).origin("abc") == "https://abc.labs.example:8443"
    assert site.lab_secret("abc", 1) != site.lab_secret("abc", 2)


def test_a_link_in_the_labs_folder_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "token").symlink_to(victim)
    write_private(scratch, "token", "secret", os.getuid())
    assert victim.read_text() == "untouched"
    assert (scratch / "token").read_text() == "secret"
    assert not (scratch / "token").is_symlink()
    (tmp_path / "link").symlink_to(scratch)
    with pytest.raises(OSError, match="link"):
        write_private(tmp_path / "link", "token", "secret", os.getuid())


def test_a_page_of_labs_fits_in_a_message() -> None:
    items = [replace(running_lab(START), last_lines=["x" * 500] * 20).contract() for _ in range(200)]
    page = within(items, 600_000)
    assert 1 < len(page) < 200
    assert sum(len(item.model_dump_json()) for item in page) <= 600_000
    assert len(within(items[:1], 10)) == 1


def test_labs_with_gpus_are_containers_where_they_can_be() -> None:
    both = Runtimes(
        order=[Runtime.PROCESS, Runtime.CONTAINER],
        process=ProcessRuntime(command=["x"]),
        container=ContainerRuntime(image="x:1"),
    )
    offered = [Runtime.PROCESS, Runtime.VM, Runtime.CONTAINER]
    assert choose_runtime(both, offered) is Runtime.PROCESS
    assert choose_runtime(both, offered, gpus=1) is Runtime.CONTAINER
    assert choose_runtime(both, [Runtime.PROCESS], gpus=1) is Runtime.PROCESS
    assert choose_runtime(both, [], gpus=1) is None
