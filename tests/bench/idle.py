"""Memory and CPU of an idle platform, by part: a table on the terminal and `build/bench-idle.json`.

Without `--state` a platform is started with the shipped catalogue, and measured when its environments are prepared and
nothing goes on in the background any more. Memory is the proportional set size (shared pages count once), with all
descendants of a part; CPU is the time used over the measurement as a share of one core. The measurement is cut into
windows: how far they lie apart tells how much of the figure is chance, and the machine's other work is told beside it.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from datalabs_standalone.processes import family, memory_kib
from tests.running import COMMAND, CONTENT, REPOSITORY, running

GOAL_MB = 700
GOAL_CPU_PERCENT = 3.0
SUPERVISOR = "supervisor"
LAUNCHER_AT_REST = 2
"""The launcher itself and what its shims are forked from; more means that environments are being made."""
QUIET_SECONDS = 5.0
WINDOWS = 6
"""So many pieces of the measurement are compared; each is long enough for what happens every few seconds."""
QUIET_CPU_PERCENT = 8.0
LOOKS = 2
SETTLING_SECONDS = 900.0


def parts_of(state: Path) -> dict[str, int]:
    """Return the pid of each part of a running platform."""
    shown = subprocess.run(
        [str(COMMAND), "status", "--json", "--state", str(state)], capture_output=True, text=True, check=False
    )
    document = json.loads(shown.stdout)
    parts = {part["name"]: part["pid"] for part in document["parts"] if part["pid"]}
    return {SUPERVISOR: document["pid"], **parts}


def members(parts: dict[str, int]) -> dict[str, list[int]]:
    """Return all processes of each part; the supervisor's are its own alone."""
    return {name: [pid] if name == SUPERVISOR else family(pid) for name, pid in parts.items()}


def cpu_seconds(pids: list[int]) -> float:
    """Return the time that all threads of these processes have run, as the scheduler counts it (nanoseconds)."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(thread.read_text().split()[0])
    return total / 1e9


def cpu_percent(parts: dict[str, int], seconds: float) -> dict[str, float]:
    """Return each part's CPU over some seconds, in per cent of a core."""
    processes = members(parts)
    before = {name: cpu_seconds(pids) for name, pids in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    after = {name: cpu_seconds(pids) for name, pids in processes.items()}
    return {name: 100 * max(0.0, after[name] - before[name]) / passed for name in parts}


def busy_percent(before: list[int], after: list[int]) -> float:
    """Return how busy all processors together were between two readings of `/proc/stat`, as a share of the whole."""
    passed = [new - old for old, new in zip(before, after, strict=True)]
    return 100 * (1 - (passed[3] + passed[4]) / max(1, sum(passed)))


def processor_times() -> list[int]:
    """Return the ticks that all processors spent in each way."""
    line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    return [int(field) for field in line.split()[1:9]]


def settle(state: Path) -> None:
    """Wait until nothing goes on in the background, twice in a row: one environment's end is another's beginning."""
    deadline, quiet = time.monotonic() + SETTLING_SECONDS, 0
    while time.monotonic() < deadline:
        parts = parts_of(state)
        busy = sum(cpu_percent(parts, QUIET_SECONDS).values())
        at_rest = busy < QUIET_CPU_PERCENT and len(family(parts["launcher"])) <= LAUNCHER_AT_REST
        quiet = quiet + 1 if at_rest else 0
        if quiet == LOOKS:
            return
    sys.stderr.write("the platform never became quiet; the figures hold work in the background\n")


@contextlib.contextmanager
def platform(named: Path | None) -> Iterator[Path]:
    """Yield the state folder of a platform that runs: the named one, or a fresh one that has settled."""
    if named is not None:
        yield named
        return
    with running(content=[CONTENT]) as fresh:
        settle(fresh.state)
        yield fresh.state


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--state", type=Path, help="a platform that runs already")
    arguments.add_argument("--seconds", type=float, default=30.0, help="how long to measure")
    given = arguments.parse_args()
    with platform(given.state) as state:
        parts = parts_of(state)
        times = processor_times()
        windows = [cpu_percent(parts, given.seconds / WINDOWS) for _ in range(WINDOWS)]
        machine = busy_percent(times, processor_times())
        memory = {name: memory_kib(pids) * 1024 / 1e6 for name, pids in members(parts).items()}
    cpu = {name: statistics.fmean(window[name] for window in windows) for name in parts}
    sums = [sum(window.values()) for window in windows]
    noise = 2 * statistics.stdev(sums) / WINDOWS**0.5
    rows = [
        {"part": name, "pss_mb": round(memory[name], 1), "cpu_percent": round(cpu[name], 2)} for name in parts
    ]
    total = {
        "pss_mb": round(sum(memory.values()), 1),
        "cpu_percent": round(sum(cpu.values()), 2),
        "cpu_noise": round(noise, 2),
        "machine_busy_percent": round(machine, 1),
    }
    met = total["pss_mb"] <= GOAL_MB and total["cpu_percent"] <= GOAL_CPU_PERCENT
    table = Table(title=f"idle for {given.seconds:g} s", box=None)
    for column in ("part", "PSS / MB", "CPU / % of a core"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for row in rows:
        table.add_row(str(row["part"]), f"{row['pss_mb']}", f"{row['cpu_percent']}")
    table.add_section()
    table.add_row("all", str(total["pss_mb"]), f"{total['cpu_percent']} ± {total['cpu_noise']}")
    table.add_row("the machine, all cores", "", str(total["machine_busy_percent"]))
    table.add_row("goal", f"≤ {GOAL_MB}", f"≤ {GOAL_CPU_PERCENT}")
    Console().print(table)
    report = {
        "seconds": given.seconds,
        "parts": rows,
        "total": total,
        "goal": {"pss_mb": GOAL_MB, "cpu_percent": GOAL_CPU_PERCENT},
        "met": met,
    }
    file = REPOSITORY / "build" / "bench-idle.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(total), "goal met" if met else "goal missed", file)


if __name__ == "__main__":
    main()
