"""What is registered, compared with golden files; `DATALABS_GOLDEN=write` writes them anew."""

import json
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from datalabs_contracts.datalabs import ContainerRuntime, Kind, ProcessRuntime, Runtime
from datalabs_launcher.clusters import found, platform_name
from datalabs_launcher.machines.image import Image
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.job import Cluster, freed, job_of, secrets_of
from datalabs_launcher.nomad.vm_task import Disk
from datalabs_launcher.scheduler import LabJob
from datalabs_runtime.settings import SettingsError

from .jobs import NOTEBOOK

GOLDEN = Path(__file__).parent.parent / "data" / "nomad"
DISK = Disk(
    folder="/srv/datalabs/machines/linux-desktop",
    about=Image(
        name="linux-desktop",
        digest="0" * 64,
        disk_mib=1500,
        kernel_command_line="root=/dev/vda rw console=ttyS0",
    ),
)
SITE = NomadSettings(
    nomad_address="https://nomad.example.org:4646",
    nomad_namespace="labs",
    nomad_network="datalabs",
    nomad_host_network="datalabs",
    nomad_volume="datalabs",
    nomad_image_disks=Path("/srv/datalabs/machines"),
    nomad_environments=Path("/srv/datalabs/environments"),
    nomad_allow_raw_exec=True,
)
PLAIN = NomadSettings(nomad_address="http://127.0.0.1:4646", nomad_namespace="default")
BATCH = replace(
    NOTEBOOK,
    kind=Kind.BATCH,
    batch=True,
    container=ContainerRuntime(image="datalabs/reduce:2", command=["{source}/reduce.py", "--of", "{lab_id}"]),
    activity="",
    node=None,
)
DESKTOP = replace(
    NOTEBOOK,
    kind=Kind.DESKTOP,
    container=ContainerRuntime(image="datalabs/topcat:4.10", port=5901, shm_mib=256),
    gpus=1,
    gpu_name="nvidia/gpu/Tesla T4",
    node_class="gpu",
    memory_mib=4096,
    cores=2,
)
VM = replace(NOTEBOOK, kind=Kind.DESKTOP, runtime=Runtime.VM, cores=2, memory_mib=2048, disk_mib=4096)
PROCESS = replace(NOTEBOOK, runtime=Runtime.PROCESS)


def cluster(settings: NomadSettings) -> Cluster:
    return Cluster(platform="5f1c0a9be2d84467", settings=settings, processes_per_lab=1024, log_mib=5)


@pytest.mark.parametrize(
    ("name", "job", "settings"),
    [
        ("notebook", NOTEBOOK, SITE),
        ("notebook-plain", NOTEBOOK, PLAIN),
        ("batch", BATCH, SITE),
        ("desktop-gpu", DESKTOP, SITE),
        ("vm", VM, SITE),
        ("vm-throwaway", VM, NomadSettings(nomad_image_disks=Path("/srv/datalabs/machines"))),
        ("process", PROCESS, SITE),
    ],
)
def test_what_is_registered(name: str, job: LabJob, settings: NomadSettings) -> None:
    made = json.dumps(job_of(job, cluster(settings), disk=DISK), indent=2, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("DATALABS_GOLDEN") == "write":
        file.write_text(made)
    assert made == file.read_text()


def test_a_job_may_be_bound_to_a_node_and_freed_again() -> None:
    anywhere = job_of(NOTEBOOK, cluster(SITE))
    bound = job_of(NOTEBOOK, cluster(SITE), node_id="5f1c0a9b-0000-4000-8000-000000000000")
    assert bound["Constraints"][-1] == {
        "LTarget": "${node.unique.id}",
        "RTarget": "5f1c0a9b-0000-4000-8000-000000000000",
        "Operand": "=",
    }
    assert bound["Meta"]["datalabs_node"] == "5f1c0a9b-0000-4000-8000-000000000000"
    assert freed(cast("dict[str, Any]", bound)) == anywhere


@pytest.mark.parametrize("runtime", [Runtime.CONTAINER, Runtime.PROCESS])
def test_what_nomad_would_read_goes_to_the_labs_own_variable(runtime: Runtime) -> None:
    text = '${attr.unique.hostname} ${env["X"]}'
    own = {"GREETING": "{parameters[greeting]}", "PLAIN": "$HOME {lab_id}"}
    job = replace(
        NOTEBOOK,
        runtime=runtime,
        parameters={"greeting": text},
        container=ContainerRuntime(image="a:1", environment=own, command=["{parameters[greeting]}"]),
        process=ProcessRuntime(command=["{python}", "{parameters[greeting]}"], environment=own),
    )
    made, kept = job_of(job, cluster(SITE)), secrets_of(job, cluster(SITE))
    [task] = made["TaskGroups"][0]["Tasks"]
    assert "GREETING" not in task["Env"]
    assert task["Env"]["PLAIN"] == f"$HOME {job.lab_id}"
    assert kept["GREETING"] == text
    assert task["Config"]["args"][-1] == text.replace("${", "$${")
    assert any(one.get("Envvars") for one in task["Templates"])


def test_a_process_has_the_nodes_address_where_it_was_asked_for() -> None:
    own = {"HERE": "http://{address}:{port}", "SAYS": "{parameters[greeting]}"}
    process = ProcessRuntime(command=["{python}", "--ip", "{address}"], environment=own)
    job = replace(PROCESS, process=process, parameters={"greeting": "${NOMAD_IP_lab}"})
    [task] = job_of(job, cluster(SITE))["TaskGroups"][0]["Tasks"]
    assert task["Env"]["HERE"] == f"http://${{NOMAD_IP_lab}}:{job.port}"
    assert task["Config"]["args"] == ["--ip", "${NOMAD_IP_lab}"]
    assert secrets_of(job, cluster(SITE))["SAYS"] == "${NOMAD_IP_lab}"
    both = process.model_copy(update={"environment": {"BOTH": "{address} ${x}"}})
    with pytest.raises(ValueError, match="BOTH"):
        job_of(replace(job, process=both), cluster(SITE))


@pytest.mark.parametrize("job", [NOTEBOOK, BATCH, DESKTOP, VM, PROCESS])
def test_no_secret_is_in_the_job(job: LabJob) -> None:
    secret = replace(job, secret_environment={"TOKEN": "another-secret"})
    made = json.dumps(job_of(secret, cluster(SITE), disk=DISK))
    assert "a-secret-of-this-lab" not in made
    assert "another-secret" not in made
    kept = json.dumps(secrets_of(secret, cluster(SITE)))
    assert "a-secret-of-this-lab" in kept
    assert "another-secret" in kept


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (replace(NOTEBOOK, container=None), "without an image"),
        (replace(VM, vm=None), "without an image"),
        (replace(VM, memory_mib=128), "at least"),
        (replace(PROCESS, process=None), "without a process"),
    ],
)
def test_a_job_that_cannot_be_is_refused_in_words(job: LabJob, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        job_of(job, cluster(SITE), disk=DISK)


def test_a_platform_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "platform.id"
    name = platform_name(file)
    assert platform_name(file) == name
    assert [one.name for one in tmp_path.iterdir()] == ["platform.id"]
    with pytest.raises(SettingsError):
        platform_name(tmp_path / "nowhere" / "platform.id")


class Leader(BaseHTTPRequestHandler):
    """An agent with a leader."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'"127.0.0.1:4647"')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_nomad_that_was_found_stays_while_it_is_away(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Leader) as agent:
        address = f"http://127.0.0.1:{agent.server_port}"
        answering = threading.Thread(target=agent.handle_request)
        answering.start()
        assert found(tmp_path / "note", address)
        answering.join()
    assert found(tmp_path / "note", address)
    assert not found(tmp_path / "other", address)
