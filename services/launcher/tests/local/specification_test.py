import dataclasses
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.datalabs import Kind, ProcessRuntime, Runtime
from datalabs_contracts.volumes import Mount
from datalabs_launcher.local.config import Isolation
from datalabs_launcher.local.interpreter import Interpreter
from datalabs_launcher.local.layout import Layout
from datalabs_launcher.local.specification import Network, Place, kernelspec, settings_files, spec_of
from datalabs_launcher.scheduler import LabJob

JOB = LabJob(
    job_id="lab-k3v9x2abcd-01",
    lab_id="k3v9x2abcd",
    attempt=1,
    owner="ada",
    uid=20_001,
    datalab="jupyterlab",
    version="1.0",
    kind=Kind.NOTEBOOK,
    runtime=Runtime.PROCESS,
    process=ProcessRuntime(
        command=["sh", "-c", "serve {address}:{port} {source} {parameters[years]} {home} {host}"],
        environment={"WHERE": "{scratch}", "PATH_STYLE": "{data}"},
    ),
    source="/content/jupyterlab",
    cores=0.5,
    memory_mib=768,
    disk_mib=2048,
    port=20_007,
    ready_path="/",
    ready_secret=True,
    batch=False,
    activity="jupyter",
    mounts=(
        Mount(source="/state/home/ada", target="/media/home", read_only=False),
        Mount(source="/state/scratch/k3", target="/media/scratch", read_only=False),
        Mount(source="/state/collections/iers", target="/data/iers", read_only=True),
    ),
    environment={"DATALABS_LAB_ID": "k3v9x2abcd", "DATALABS_TOKEN_FILE": "/media/scratch/.datalabs-token"},
    secret_environment={"KEY": "hush"},
    lab_secret="abc",
    parameters={"years": 3},
    origin="http://k3v9x2abcd.localhost:8080",
    stop_seconds=10,
)


def place(tmp_path: Path, **changes: Any) -> Place:
    made = Place(
        folder=Path("/state/labs/lab-k3v9x2abcd-01"),
        environment=tmp_path,
        interpreter=Interpreter(
            executable=Path("/opt-py/bin/python3.11"),
            prefix=Path("/opt-py"),
            version="3.11.7",
            binds=(("/opt-py", "/opt-py"),),
        ),
        isolation=Isolation.ROOT,
        address="198.18.0.9",
        network=Network(interface="dl0123", gateway="198.18.0.1", group=7, forward=True),
        cgroups={"memory": "/sys/fs/cgroup/memory/datalabs-x/lab-k3v9x2abcd-01"},
        pids=1024,
        log_bytes=5_000_000,
        poke=Path("/state/labs/news.sock"),
        uid=20_001,
        passed={"SSL_CERT_FILE": "/etc/ca.pem"},
    )
    return dataclasses.replace(made, **changes)


def test_what_the_shim_is_told(tmp_path: Path) -> None:
    spec = spec_of(JOB, place(tmp_path))
    assert spec["argv"] == [
        "/usr/bin/sh",
        "-c",
        "serve 198.18.0.9:20007 /content/jupyterlab 3 /media/home k3v9x2abcd.localhost",
    ]
    assert (spec["uid"], spec["gid"], spec["cwd"], spec["grace"]) == (20_001, 20_001, "/media/home", 10)
    assert spec["binds"] == [
        ["/state/home/ada", "/media/home", "rw"],
        ["/state/scratch/k3", "/media/scratch", "rw"],
        ["/state/collections/iers", "/data/iers", "ro"],
        ["/opt-py", "/opt-py", "ro"],
        [str(tmp_path), str(tmp_path), "ro"],
        ["/state/labs/lab-k3v9x2abcd-01/run", "/run/datalabs", "ro"],
        ["/content/jupyterlab", "/content/jupyterlab", "ro"],
    ]
    assert spec["network"] == {
        "interface": "dl0123",
        "address": "198.18.0.9",
        "gateway": "198.18.0.1",
        "group": 7,
        "forward": True,
    }
    assert spec["limits"] == {"memory_mib": 768, "pids": 1024, "cores": 0.5}


def test_the_environment_of_a_lab(tmp_path: Path) -> None:
    environment = spec_of(JOB, place(tmp_path))["env"]
    packages = "/media/home/.datalabs/packages/jupyterlab-1.0"
    assert environment["PATH"] == f"{packages}/bin:{tmp_path}/bin:/usr/local/bin:/usr/bin:/bin"
    assert environment["PYTHONPATH"] == f"{packages}/lib/python3.11/site-packages"
    assert environment["HOME"] == "/media/home"
    assert environment["DATALABS_ROOT"] == ""
    assert environment["WHERE"] == "/media/scratch"
    assert environment["KEY"] == "hush"
    assert environment["DATALABS_LAB_SECRET"] == "abc"
    assert environment["SSL_CERT_FILE"] == "/etc/ca.pem"


def test_where_real_paths_cannot_be_mounted_they_lie_under_a_root(tmp_path: Path) -> None:
    spec = spec_of(JOB, place(tmp_path, isolation=Isolation.NONE, network=None))
    root = "/state/labs/lab-k3v9x2abcd-01/tree"
    assert spec["env"]["DATALABS_ROOT"] == root
    assert spec["env"]["HOME"] == f"{root}/media/home"
    assert spec["env"]["DATALABS_TOKEN_FILE"] == f"{root}/media/scratch/.datalabs-token"
    assert spec["packages"]["folder"].startswith("/state/home/ada/.datalabs")
    assert spec["cwd"] == f"{root}/media/home"
    assert spec["network"] is None


def test_a_program_of_the_environment_comes_first(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").write_text("")
    (tmp_path / "bin" / "sh").chmod(0o755)
    assert spec_of(JOB, place(tmp_path))["argv"][0] == f"{tmp_path}/bin/sh"


def test_a_program_that_is_nowhere_is_a_bad_job(tmp_path: Path) -> None:
    process = ProcessRuntime(command=["no-such-program"])
    with pytest.raises(ValueError, match="no-such-program"):
        spec_of(dataclasses.replace(JOB, process=process), place(tmp_path))


def test_a_lab_without_a_home_has_no_packages_of_its_own(tmp_path: Path) -> None:
    spec = spec_of(dataclasses.replace(JOB, mounts=()), place(tmp_path))
    assert spec["packages"] == {}
    assert "PYTHONPATH" not in spec["env"]
    assert spec["cwd"] == "/"


def test_its_etc_names_its_owner_and_its_address(tmp_path: Path) -> None:
    files = settings_files(JOB, place(tmp_path), "nameserver 10.0.0.2\n")
    assert "ada:x:20001:20001:ada:/media/home:/bin/bash" in files["passwd"]
    assert "198.18.0.9 k3v9x2abcd" in files["hosts"]
    assert files["resolv.conf"] == "nameserver 10.0.0.2\n"
    assert "resolv.conf" not in settings_files(JOB, place(tmp_path, network=None), None)


def test_the_kernel_runs_where_packages_are_installed(tmp_path: Path) -> None:
    packages = spec_of(JOB, place(tmp_path))["packages"]
    made = kernelspec({"argv": ["python", "-m", "ipykernel_launcher"], "language": "python"}, packages)
    assert made["argv"][0] == "/media/home/.datalabs/packages/jupyterlab-1.0/bin/python"
    assert made["argv"][1:] == ["-m", "ipykernel_launcher"]


def test_a_kernels_logos_are_files_of_its_own_folder(tmp_path: Path) -> None:
    original = tmp_path / "environment" / "kernel.json"
    original.parent.mkdir()
    original.write_text('{"argv": ["python"]}')
    (original.parent / "logo-svg.svg").write_text("<svg/>")
    folder = tmp_path / "run" / "jupyter" / "kernels" / "python3"
    (tmp_path / "run").mkdir()
    Layout._kernel(folder, original, {"folder": "/media/home/.datalabs/packages/x-1", "site": "lib"})
    logo = folder / "logo-svg.svg"
    assert logo.resolve() == logo, "Jupyter serves nothing from outside the kernel's folder"
    assert (logo.read_text(), logo.stat().st_mode & 0o777) == ("<svg/>", 0o644)
