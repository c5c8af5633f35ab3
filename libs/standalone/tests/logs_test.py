import os
import threading
from pathlib import Path

from datalabs_standalone import logs


def test_the_last_lines_come_from_the_end_of_a_large_file(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(20_000)))
    assert logs.last_lines(log, 2) == ["line 19998", "line 19999"]
    assert logs.last_lines(log, 0) == []
    assert logs.last_lines(tmp_path / "none.log", 5) == []


def test_lines_before_a_place_do_not_count(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n")
    place = logs.size_of(log)
    assert logs.last_lines(log, 9, since=place) == []
    with log.open("a") as file:
        file.write("new\n")
    assert logs.last_lines(log, 9, since=place) == ["new"]
    log.write_text("x\n")
    assert logs.last_lines(log, 9, since=place) == ["x"]


def test_a_log_is_rotated_under_a_part_that_goes_on_writing(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    writer = logs.open_log(log)
    for number in range(4):
        os.write(writer, f"{number}".encode() * 100 + b"\n")
        assert logs.rotate(log, max_bytes=100, kept=2)
    assert not logs.rotate(log, max_bytes=100)
    os.write(writer, b"after\n")
    os.close(writer)
    assert log.read_text() == "after\n"
    assert (tmp_path / "a.log.1").read_text().startswith("333")
    assert (tmp_path / "a.log.2").read_text().startswith("222")
    assert not (tmp_path / "a.log.3").exists()
    assert log.stat().st_mode & 0o777 == 0o600


def test_following_goes_on_after_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("before\n")
    seen: list[str] = []
    enough = threading.Event()

    def read() -> None:
        for line in logs.follow(log, pause=0.01):
            seen.append(line)
            if line == "one":
                enough.set()
            if line == "two":
                return

    reader = threading.Thread(target=read)
    reader.start()
    while not enough.is_set():
        with log.open("a") as file:
            file.write("one\n")
        enough.wait(0.1)
    logs.rotate(log, max_bytes=1)
    while reader.is_alive():
        with log.open("a") as file:
            file.write("two\n")
        reader.join(0.1)
    assert set(seen) == {"one", "two"}


def test_a_line_of_ours_is_shown_in_words() -> None:
    line = (
        '{"event": "loop failed", "level": "error", "timestamp": "2026-11-22T14:33:15.478781Z",'
        ' "service": "auth", "loop": "prune", "exception": "Traceback\\n  File x\\nValueError: no"}'
    )
    assert logs.readable(line) == "14:33:15.478 error loop failed: ValueError: no loop=prune"
    assert logs.readable("[INF] Server is ready") == "[INF] Server is ready"
    assert logs.readable('"a string"') == '"a string"'
    assert logs.readable("x" * 500, width=10) == "x" * 10
