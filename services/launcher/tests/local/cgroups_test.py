"""Both versions of control groups, on trees of plain files: what is written where, and what is read as what."""

from pathlib import Path

import pytest

from datalabs_launcher.local import cgroups


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    base = tmp_path / "datalabs-x"
    base.mkdir()
    for folder in (tmp_path, base):
        (folder / "cgroup.subtree_control").write_text("")
        (folder / "cgroup.procs").write_text("")
        (folder / "cgroup.controllers").write_text("cpu memory pids")
    (base / "cpu.weight").write_text("")
    return tmp_path


def _lab(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_version_2_takes_one_folder_with_all_controllers(unified: Path) -> None:
    groups = cgroups.bases("datalabs-x", str(unified))
    assert groups == {"unified": str(unified / "datalabs-x")}
    assert (unified / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert int((unified / "datalabs-x" / "cpu.weight").read_text()) >= 400


def test_version_2_limits_and_evidence(unified: Path) -> None:
    lab = _lab(
        unified / "datalabs-x" / "lab",
        memory_max="",
        pids_max="",
        cpu_weight="",
        memory_events="low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n",
        pids_events="max 4\n",
        cpu_stat="usage_usec 2500000\nuser_usec 1\n",
        memory_current=str(80 * 2**20),
        memory_stat=f"anon 5\ninactive_file {30 * 2**20}\n",
        memory_peak=str(90 * 2**20),
    )
    (lab / "memory.swap.max").write_text("")
    groups = {"unified": str(lab)}
    cgroups.make(groups, memory_mib=768, pids=512, cores=0.5)
    assert (lab / "memory.max").read_text() == str(768 * 2**20)
    assert (lab / "memory.swap.max").read_text() == "0"
    assert (lab / "pids.max").read_text() == "512"
    assert (lab / "cpu.weight").read_text() == "50"
    assert cgroups.out_of_memory_kills(groups) == 1
    assert cgroups.refused_forks(groups) == 4
    assert cgroups.cpu_used(groups) == 2.5
    assert cgroups.memory_used_mib(groups) == 50
    assert cgroups.memory_peak_mib(groups) == 90


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    for controller in ("memory", "pids"):
        _lab(tmp_path / controller, cgroup_procs="")
    _lab(tmp_path / "cpu" / "datalabs-x", cpu_shares="")
    _lab(tmp_path / "cpu", cgroup_procs="")
    groups = cgroups.bases("datalabs-x", str(tmp_path))
    assert set(groups) == {"memory", "pids", "cpu"}
    assert int((tmp_path / "cpu" / "datalabs-x" / "cpu.shares").read_text()) >= 4096


def test_version_1_evidence(tmp_path: Path) -> None:
    memory = _lab(
        tmp_path / "memory",
        memory_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        memory_usage_in_bytes=str(60 * 2**20),
        memory_stat=f"cache 1\ntotal_inactive_file {20 * 2**20}\n",
        memory_max_usage_in_bytes=str(70 * 2**20),
    )
    cpu = _lab(tmp_path / "cpuacct", cpuacct_usage="1500000000\n")
    groups = {"memory": str(memory), "cpuacct": str(cpu)}
    assert cgroups.out_of_memory_kills(groups) == 3
    assert cgroups.memory_used_mib(groups) == 40
    assert cgroups.memory_peak_mib(groups) == 70
    assert cgroups.cpu_used(groups) == 1.5
    assert cgroups.refused_forks(groups) == 0


def test_without_groups_nobody_counts() -> None:
    assert cgroups.cpu_used({}) is None
    assert cgroups.memory_used_mib({}) is None
    assert cgroups.memory_peak_mib({}) is None
    assert cgroups.out_of_memory_kills({}) == 0
    assert cgroups.members({}) == set()
    assert cgroups.end({})
