"""What of container labs needs no engine: what it is told, and what is concluded from its answers."""

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.datalabs import ContainerRuntime, Kind, Runtime
from datalabs_contracts.volumes import Mount
from datalabs_launcher.containers import gpus
from datalabs_launcher.containers.engine import split_name
from datalabs_launcher.containers.folders import About, Evidence, Record
from datalabs_launcher.containers.images import Layers, ports_of
from datalabs_launcher.containers.logs import rows
from datalabs_launcher.containers.observing import instant, observation
from datalabs_launcher.containers.specification import Place, document_of, own_files, port_of
from datalabs_launcher.local.disk import over_its_size, written
from datalabs_launcher.scheduler import JobState, LabJob

GOLDEN = Path(__file__).with_name("data") / "topcat.json"
ABOUT = About(job_id="lab-a-01", lab_id="a", attempt=1, address="100.64.0.9", port=8888, pids=64, disk_mib=1)


def job(**changes: Any) -> LabJob:
    made = LabJob(
        job_id="lab-k3v9x2mmpq-01",
        lab_id="k3v9x2mmpq",
        attempt=1,
        owner="ada",
        uid=20_001,
        datalab="topcat",
        version="1.0",
        kind=Kind.DESKTOP,
        runtime=Runtime.CONTAINER,
        container=ContainerRuntime(
            image="open-datalabs/topcat:1.0",
            command=["--title", "{parameters[title]}"],
            environment={"WHERE": "{origin}{source}"},
            read_only=True,
            shm_mib=128,
        ),
        source="/srv/content/topcat",
        cores=1,
        memory_mib=2048,
        disk_mib=4096,
        port=20_100,
        ready_path="/",
        ready_secret=False,
        batch=False,
        activity="",
        mounts=(
            Mount(source="/srv/home/ada", target="/media/home", read_only=False),
            Mount(source="/srv/scratch/k3", target="/media/scratch", read_only=False),
            Mount(source="/srv/collections/iers", target="/data/iers", read_only=True),
        ),
        environment={"DATALABS_LAB_ID": "k3v9x2mmpq", "DATALABS_PORT": "20100", "IF_main_port": "20100"},
        lab_secret="the-secret",
        parameters={"title": "a; $(b) {port}"},
        origin="http://k3v9x2mmpq.localhost:8080",
        stop_seconds=4.5,
    )
    return dataclasses.replace(made, **changes)


def place() -> Place:
    return Place(
        platform="abcdef01",
        folder=Path("/srv/labs/.containers/lab-k3v9x2mmpq-01"),
        image="sha256:0123",
        exposed=(8888,),
        network="datalabs-abcdef01",
        address="100.64.0.9",
        uid=20_001,
        pids=1024,
        cores=2.0,
        log_bytes=5 * 2**20,
        cgroup_parent="/datalabs-abcdef01",
    )


def test_what_the_engine_is_told_is_the_golden_file() -> None:
    assert json.loads(json.dumps(document_of(job(), place()))) == json.loads(GOLDEN.read_text())


def test_no_secret_is_in_what_the_engine_is_told() -> None:
    assert "the-secret" not in json.dumps(document_of(job(), place()))


def test_an_image_that_can_be_written_has_no_tmp_in_memory() -> None:
    container = ContainerRuntime(image="x")
    host = document_of(job(container=container), place())["HostConfig"]
    assert (host["ReadonlyRootfs"], list(host["Tmpfs"])) == (False, ["/run/lab"])
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])


def test_gpus_are_asked_for_by_their_ids_and_given_to_one_lab_only(tmp_path: Path) -> None:
    for number, model in enumerate(("NVIDIA L40S", "NVIDIA L40S", "Tesla T4")):
        (tmp_path / f"0000:0{number}").mkdir()
        said = f"Model: \t\t {model}\nIRQ:   \t\t 44\nGPU UUID: \t GPU-{number}\n"
        (tmp_path / f"0000:0{number}" / "information").write_text(said)
    devices = gpus.found(tmp_path)
    assert gpus.counted(devices) == {"nvidia/gpu/L40S": 2, "nvidia/gpu/Tesla T4": 1}
    assert gpus.chosen(devices, 2, None, taken=()) == ("GPU-0", "GPU-1")
    assert gpus.chosen(devices, 1, "nvidia/gpu/L40S", taken={"GPU-0"}) == ("GPU-1",)
    assert gpus.chosen(devices, 1, "nvidia/gpu", taken={"GPU-0", "GPU-1"}) == ("GPU-2",)
    assert gpus.chosen(devices, 2, None, taken={"GPU-0"}) is None, "two of one kind, or none"
    assert gpus.chosen(devices, 1, "amd/gpu", taken=()) is None
    host = document_of(job(), dataclasses.replace(place(), gpus=("GPU-1",)))["HostConfig"]
    assert host["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["GPU-1"], "Capabilities": [["gpu", "compute", "utility"]]}
    ]
    assert "DeviceRequests" not in document_of(job(), place())["HostConfig"]


def test_an_engine_says_itself_whether_it_gives_gpus() -> None:
    assert gpus.passes({"Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}})
    assert not gpus.passes({"Runtimes": {"runc": {}}})
    assert not gpus.passes({})


@pytest.mark.parametrize(
    ("wanted", "exposed", "port"),
    [(5000, (8888,), 5000), (None, (8888,), 8888), (None, (80, 443), 20_100), (None, (), 20_100)],
)
def test_the_port_is_the_entrys_else_the_images_else_ours(
    wanted: int | None, exposed: tuple[int, ...], port: int
) -> None:
    assert port_of(job(), ContainerRuntime(image="x", port=wanted), exposed) == port


def test_the_person_takes_the_place_of_the_images_own_users_of_that_name_and_number() -> None:
    image = {
        "passwd": b"root:x:0:0::/:/bin/sh\nada:x:1:1::/:/bin/sh\nx:x:20001:5::/:/bin/sh\n",
        "group": None,
    }
    files = own_files(job(), 20_001, image, None)
    assert files["passwd"] == "ada:x:20001:20001:ada:/media/home:/bin/bash\nroot:x:0:0::/:/bin/sh\n"
    assert files["group"].startswith("ada:x:20001:\nroot:")


def container(**state: Any) -> dict[str, Any]:
    usual = {
        "Status": "exited",
        "ExitCode": 0,
        "Error": "",
        "OOMKilled": False,
        "StartedAt": "2026-11-22T18:00:01.123456789Z",
        "FinishedAt": "2026-11-22T18:00:05.5Z",
    }
    return {"Created": "2026-11-22T18:00:00Z", "State": {**usual, **state}}


def end_of(evidence: Evidence, *, asked: bool = False, **state: Any) -> Any:
    seen = observation(ABOUT, container(**state), evidence, asked=asked, gone_at=None)
    assert seen.state is JobState.ENDED
    return seen.end


@pytest.mark.parametrize(
    ("evidence", "state", "reasons", "code", "signal"),
    [
        (Evidence(), {"ExitCode": 3}, set(), 3, None),
        (Evidence(), {"ExitCode": 139}, set(), 139, 11),
        (Evidence(), {"ExitCode": 137, "OOMKilled": True}, {"out_of_memory"}, 137, 9),
        (Evidence(oom_kills=1), {"ExitCode": 137}, {"out_of_memory"}, 137, 9),
        (Evidence(oom_kills=1), {"ExitCode": 4}, set(), 4, None),
        (Evidence(refused_forks=9), {"ExitCode": 1}, {"pids_exceeded"}, 1, None),
        (Evidence(refused_forks=9), {"ExitCode": 0}, set(), 0, None),
        (Evidence(pids_exceeded=True), {"ExitCode": 137}, {"pids_exceeded"}, 137, 9),
        (Evidence(disk_full=True), {"ExitCode": 137, "OOMKilled": True}, {"disk_full"}, 137, 9),
    ],
)
def test_an_end_has_one_reason(
    evidence: Evidence, state: dict[str, Any], reasons: set[str], code: int, signal: int | None
) -> None:
    end = end_of(evidence, **state)
    names = ("out_of_memory", "disk_full", "pids_exceeded")
    assert {name for name in names if getattr(end, name)} == reasons
    assert (end.exit_code, end.signal) == (code, signal)
    assert end.ended_at == datetime(2026, 11, 22, 18, 0, 5, 500_000, tzinfo=UTC)


def test_who_was_asked_to_end_did_not_crash() -> None:
    end = end_of(Evidence(oom_kills=1, refused_forks=3), asked=True, ExitCode=137)
    assert (end.asked, end.out_of_memory, end.pids_exceeded) == (True, False, False)


def test_what_could_not_be_started_has_ended_without_an_exit_code() -> None:
    end = end_of(Evidence(), Status="created", Error="no such program", StartedAt="0001-01-01T00:00:00Z")
    assert (end.exit_code, end.text) == (None, "no such program")


@pytest.mark.parametrize(
    ("status", "state"),
    [("created", JobState.PENDING), ("running", JobState.RUNNING), ("paused", JobState.RUNNING)],
)
def test_what_lives_has_no_end(status: str, state: JobState) -> None:
    seen = observation(ABOUT, container(Status=status), Evidence(), asked=False, gone_at=None)
    assert (seen.state, seen.end) == (state, None)


def test_the_engines_nanoseconds_are_read() -> None:
    assert instant("2026-11-22T18:00:01.123456789Z") == datetime(2026, 11, 22, 18, 0, 1, 123_456, tzinfo=UTC)
    assert instant("0001-01-01T00:00:00Z") is None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("debian", ("debian", "latest")),
        ("debian:12", ("debian", "12")),
        ("host:5000/a/b", ("host:5000/a/b", "latest")),
        ("host:5000/a/b:1", ("host:5000/a/b", "1")),
        ("a@sha256:ff", ("a", "sha256:ff")),
    ],
)
def test_images_names_are_taken_apart(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_a_pull_tells_how_far_it_is() -> None:
    layers = Layers()
    assert layers.fraction == 0
    layers.take({"status": "Pulling from library/x", "id": "12"})
    for layer in ("a", "b"):
        layers.take({"status": "Pulling fs layer", "id": layer})
    layers.take({"status": "Already exists", "id": "a"})
    assert layers.fraction == 0.5
    layers.take({"status": "Downloading", "id": "b", "progressDetail": {"current": 1, "total": 2}})
    assert layers.fraction == 0.625
    layers.take({"status": "Extracting", "id": "b", "progressDetail": {"current": 1, "total": 2}})
    assert layers.fraction == 0.875
    layers.take({"status": "Pull complete", "id": "b"})
    assert layers.fraction == 1


def test_exposed_ports_are_those_of_tcp() -> None:
    assert ports_of({"Config": {"ExposedPorts": {"8888/tcp": {}, "53/udp": {}}}}) == (8888,)
    assert ports_of({"Config": {}}) == ()


def test_log_lines_tell_whether_older_ones_exist() -> None:
    assert rows(b"a\nb\nc\n", lines=2) == (["b", "c"], True)
    assert rows(b"a\nb", lines=2) == (["a", "b"], False)
    assert rows(b"", lines=2) == ([], False)


def test_what_is_written_is_counted_once_and_no_further_than_needed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "b").hardlink_to(tmp_path / "deep" / "a")
    (tmp_path / "c").symlink_to("/usr")
    found = written([str(tmp_path)], most_bytes=2**30, most_files=100)
    assert 100_000 <= found.bytes < 150_000
    assert (found.files, found.more) == (3, False)
    assert written([str(tmp_path)], most_bytes=10, most_files=100).more
    assert written([str(tmp_path)], most_bytes=2**30, most_files=1).more
    assert written([str(tmp_path / "nowhere")], most_bytes=1, most_files=1).files == 0


def test_sparse_files_count_as_what_they_take(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**30)
    assert over_its_size([str(tmp_path)], disk_mib=1, files_per_mib=1) is None
    (tmp_path / "full").write_bytes(b"x" * 2**21)
    assert (
        over_its_size([str(tmp_path)], disk_mib=1, files_per_mib=1)
        == "Its scratch holds more than its 1 MiB."
    )


def test_records_keep_what_was_seen(tmp_path: Path) -> None:
    record = Record(tmp_path / "lab-a-01")
    assert not record.accepted
    record.accept(ABOUT, {"passwd": "x"}, secret="s", uid=20_001)
    record.evidence.refused_forks = 4
    record.note()
    record.ask(12.5)
    again = Record(record.folder)
    assert (again.about, again.evidence.refused_forks, again.asked, again.secret) == (ABOUT, 4, 12.5, "s")
    assert (record.folder / "secret").stat().st_mode & 0o777 == 0o400
    assert again.gone_at() == again.gone_at()
    again.remove()
    assert not Record(record.folder).accepted
