"""The small parts: logs, pacing, addresses, listeners, the lab package, interpreters, name servers, JSON."""

import ipaddress
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalabs_launcher.local import (
    blocks,
    interpreter,
    lab_package,
    listeners,
    logs,
    network,
    pacing,
    processes,
    quick_json,
    resolver,
)
from datalabs_launcher.local.specification import passed_environment


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.text()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_small_json_is_json(value: Any) -> None:
    assert quick_json.loads(json.dumps(value, ensure_ascii=False)) == value
    assert json.loads(quick_json.dumps(value)) == value


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        quick_json.dumps({"x": object()})


def test_the_last_lines_come_from_both_files(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("".join(f"old {n}\n" for n in range(1000)))
    (tmp_path / "log").write_text("".join(f"new {n}\n" for n in range(3)) + "unfinished")
    assert logs.tail(tmp_path, lines=2) == (["new 2", "unfinished"], True)
    lines, more = logs.tail(tmp_path, lines=6)
    assert lines == ["old 998", "old 999", "new 0", "new 1", "new 2", "unfinished"]
    assert more
    lines, more = logs.tail(tmp_path, lines=5000)
    assert (len(lines), more) == (1004, False)
    assert logs.tail(tmp_path / "nowhere", lines=5) == ([], False)


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 3_000_000 + b"\n" + b"\xff\r\nlast\n")
    lines, more = logs.tail(tmp_path, lines=2)
    assert (lines, more) == (["\ufffd", "last"], True)
    assert len(logs.tail(tmp_path, lines=3)[0][0]) == logs.LONGEST_LINE


def _pace(now: list[float], waiting: list[int]) -> pacing.Pace:
    return pacing.Pace(cores=2, busy_seconds=1.0, now=lambda: now[0], waiting=lambda: waiting[0])


def test_however_busy_the_machine_is_one_lab_a_core_and_second_starts() -> None:
    now, waiting = [0.0], [50]
    pace = _pace(now, waiting)
    for _ in range(2):
        assert pace.may_start()
        pace.started()
    now[0] = 0.9
    assert not pace.may_start()
    now[0] = 1.1
    assert pace.may_start()


def test_labs_start_as_long_as_few_wait_for_a_core() -> None:
    now, waiting = [0.0], [0]
    pace = _pace(now, waiting)
    pace.started()
    pace.started()
    assert not pace.may_start()  # those two do not show among the runnable yet
    now[0] = 0.06
    waiting[0] = 3
    assert pace.may_start()
    waiting[0] = 4
    assert not pace.may_start()


def test_a_glimpse_of_idleness_lets_no_flood_in() -> None:
    now, waiting = [0.0], [0]
    pace = _pace(now, waiting)
    started = 0
    while now[0] < 1.0:
        if pace.may_start():
            pace.started()
            started += 1
        now[0] += 0.01
    assert started == 2 * pacing.MOST_PER_CORE


def _addresses(file: Path, now: list[float], bits: int = 28) -> network.Addresses:
    block = ipaddress.IPv4Network(f"198.18.0.0/{bits}")
    return network.Addresses(network=block, file=file, skip=["198.18.0.2"], now=lambda: now[0])


def test_addresses_go_round_and_rest(tmp_path: Path) -> None:
    now = [1000.0]
    addresses = _addresses(tmp_path / "last", now)
    first = addresses.give([])
    assert first == "198.18.0.3"
    assert addresses.give([]) == "198.18.0.4"
    again = _addresses(tmp_path / "last", now)
    assert again.give([]) == "198.18.0.5"
    given = {again.give([]) for _ in range(9)}
    assert len(given) == 9
    again.rest("198.18.0.3", 990.0)
    assert again.give([]) == "198.18.0.4"  # round, but for the one that rests
    now[0] = 1000 + network.REST_SECONDS
    assert again.give([f"198.18.0.{n}" for n in range(4, 16)]) == "198.18.0.3"
    assert again.give([f"198.18.0.{n}" for n in range(16)]) is None


def test_a_state_folder_keeps_its_network_and_a_copy_gets_another(tmp_path: Path) -> None:
    one = network.plan_of(tmp_path / "one")
    assert network.plan_of(tmp_path / "one") == one
    assert one.network.prefixlen == blocks.BITS
    assert one.network.subnet_of(network.ALL)
    assert ipaddress.IPv4Address(one.api_address) in one.network
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    two = network.plan_of(tmp_path / "two")
    assert two.name != one.name
    assert two.group != one.group
    assert len(one.interface("lab-abcdefghjk-01")) <= 15
    assert one.interface("lab-abcdefghjk-01") != one.interface("lab-abcdefghjk-02")


def test_who_listens_is_read_from_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = listeners.inodes("127.0.0.1", port)
        assert len(found) == 1
        assert listeners.held_by([os.getpid()], found)
        assert not listeners.held_by([os.getppid()], found)
        assert listeners.inodes("127.0.0.2", port) == set()


def test_a_process_is_itself_only_with_its_start_time() -> None:
    own = os.getpid()
    assert processes.lives(own, processes.started_ticks(own))
    assert not processes.lives(own, processes.started_ticks(own) + 1)
    assert not processes.lives(None, None)
    child = subprocess.Popen(["/bin/true"])
    ticks = processes.started_ticks(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.lives(child.pid, ticks)  # a zombie is dead
    child.wait()


def test_the_lab_package_installs_without_a_build_tool(tmp_path: Path) -> None:
    source = lab_package.beside_the_platform()
    assert source is not None
    wheel = lab_package.wheel(source, tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    look = "import datalabs_lab; from importlib.metadata import version; print(version('datalabs-lab'))"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {look}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip()
    assert lab_package.wheel(wheel, tmp_path) == wheel
    assert lab_package.digest(source) == lab_package.digest(source) != lab_package.digest(wheel)


def test_a_closed_interpreter_is_copied_for_others(tmp_path: Path) -> None:
    prefix = tmp_path / "python"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib" / "python3.11").mkdir(parents=True)
    (prefix / "bin" / "python3.11").write_text("#!/bin/sh\n")
    (prefix / "bin" / "python3.11").chmod(0o700)
    (prefix / "lib" / "python3.11" / "os.py").write_text("")
    (prefix / "lib" / "python3.11" / "os.py").chmod(0o600)
    assert not interpreter._readable(prefix, prefix / "bin" / "python3.11", "3.11.7")
    copy = interpreter._copy(prefix, tmp_path, "3.11.7")
    assert stat.S_IMODE((copy / "bin" / "python3.11").stat().st_mode) == 0o755
    assert stat.S_IMODE((copy / "lib" / "python3.11" / "os.py").stat().st_mode) == 0o644
    assert interpreter._copy(prefix, tmp_path, "3.11.7") == copy


def test_another_python_tells_of_itself(tmp_path: Path) -> None:
    found = interpreter.find(Path(sys.executable), copies=tmp_path)
    assert found == interpreter.find(None, copies=tmp_path)
    assert found.executable.exists()
    assert found.site.startswith("lib/python3.")


def test_name_servers_on_the_loopback_are_no_use_to_a_lab(tmp_path: Path) -> None:
    host, systemd = tmp_path / "resolv.conf", tmp_path / "systemd.conf"
    host.write_text("nameserver 127.0.0.53\nsearch site.example\n")
    assert resolver.text_for_labs(host, systemd) is None
    systemd.write_text("nameserver 10.0.0.2\nsearch site.example\n")
    assert resolver.text_for_labs(host, systemd) == "nameserver 10.0.0.2\nsearch site.example\n"
    host.write_text("nameserver 127.0.0.1\nnameserver 10.0.0.3\n")
    assert resolver.text_for_labs(host, systemd) == "nameserver 10.0.0.3\n"


def test_a_password_in_an_index_address_stays_outside() -> None:
    given = {
        "PIP_INDEX_URL": "https://me:secret@index.example/simple",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "X": "1",
    }
    assert passed_environment(["PIP_INDEX_URL", "SSL_CERT_FILE", "TZ"], given) == {
        "SSL_CERT_FILE": "/etc/ca.pem"
    }
