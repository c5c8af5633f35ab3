"""Environments made by a uv that only pretends: what it says, how it fails, who waits."""

import asyncio
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.datalabs import ProcessRuntime
from datalabs_launcher.local.environments import MARK, Environments, _Reading
from datalabs_launcher.local.interpreter import Interpreter, find

PRETENDS = r"""#!/bin/sh
set -e
log="$(dirname "$0")/calls"
echo "$@" >> "$log"
case "$1" in
venv)
  for last; do :; done
  mkdir -p "$last/bin" "$last/lib/python3.11/site-packages"
  ln -s /usr/bin/true "$last/bin/python"
  printf 'home = /elsewhere/bin\nrelocatable = true\n' > "$last/pyvenv.cfg"
  ;;
pip)
  while [ "$1" != --python ]; do shift; done
  site="$(dirname "$(dirname "$2")")/lib/python3.11/site-packages"
  echo "Resolved 3 packages in 5ms" >&2
  echo "Downloading numpy (16.1MiB)" >&2
  sleep 0.3
  echo " Downloaded numpy" >&2
  %s
  echo "Prepared 3 packages in 1ms" >&2
  for name in a b c; do mkdir "$site/$name-1.dist-info"; done
  sleep 0.3
  echo "Installed 3 packages in 1ms" >&2
  mkdir -p "$site/a/__pycache__"; echo 1 > "$site/a/x.py"; chmod 600 "$site/a/x.py"
  sleep 0.3
  echo "Bytecode compiled 1 files in 3ms" >&2
  ;;
esac
"""
PROCESS = ProcessRuntime(requirements=["numpy"], overrides=["x; python_version < '3'"], command=["python"])


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Environments]:
    (tmp_path / "tools").mkdir()

    def make(*, fails: str = "", shared_files: bool = True, package: Path | None = None) -> Environments:
        uv = tmp_path / "tools" / "uv"
        uv.write_text(PRETENDS % fails)
        uv.chmod(0o755)
        python = find(None, copies=tmp_path)
        return Environments(
            folder=tmp_path / "environments",
            interpreter=Interpreter(executable=python.executable, prefix=python.prefix, version="3.11.7"),
            package=package,
            offline=False,
            shared_files=shared_files,
            uv=uv,
        )

    return make


async def _all(environments: Environments, process: ProcessRuntime = PROCESS) -> list[Any]:
    return [one async for one in environments.prepare("demo", "1.0", process)]


async def test_it_is_made_once_and_tells_how_far_it_is(made: Any, tmp_path: Path) -> None:
    environments = made()
    assert environments.ready("demo", "1.0", PROCESS) is None
    told = await _all(environments)
    assert told[-1].ready
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    texts = " | ".join(one.text for one in told)
    assert "Installing 3 of 3 packages" in texts
    assert "Compiling" in texts
    path = environments.ready("demo", "1.0", PROCESS)
    assert path is not None
    assert path.name.startswith("demo-1.0-")
    assert await _all(environments) == [told[-1]]
    assert len((tmp_path / "tools" / "calls").read_text().splitlines()) == 2


async def test_it_names_the_interpreter_itself_and_all_may_read_it(made: Any) -> None:
    environments = made()
    await _all(environments)
    path = environments.ready("demo", "1.0", PROCESS)
    python = environments._interpreter.executable
    assert (path / "bin" / "python").readlink() == python
    assert (path / "pyvenv.cfg").read_text().startswith(f"home = {python.parent}\n")
    module = path / "lib/python3.11/site-packages/a/x.py"
    assert stat.S_IMODE(module.stat().st_mode) == 0o644
    assert not (path / ".inputs").exists()


async def test_where_no_view_protects_it_nobody_may_write_it(made: Any, tmp_path: Path) -> None:
    environments = made(shared_files=False)
    await _all(environments)
    path = environments.ready("demo", "1.0", PROCESS)
    assert stat.S_IMODE((path / "lib/python3.11/site-packages/a/x.py").stat().st_mode) == 0o444
    assert stat.S_IMODE((path / "lib/python3.11/site-packages").stat().st_mode) == 0o555
    assert "--link-mode=copy" in (tmp_path / "tools" / "calls").read_text()


async def test_a_failure_says_the_last_lines_and_leaves_nothing(made: Any, tmp_path: Path) -> None:
    environments = made(fails='echo "error: no such package: nump" >&2; exit 1')
    last = (await _all(environments))[-1]
    assert last.failed
    assert "no such package: nump" in last.text
    assert environments.ready("demo", "1.0", PROCESS) is None
    assert [
        path.name for path in (tmp_path / "environments").iterdir() if not path.name.endswith(".lock")
    ] == []
    assert (await _all(made()))[-1].ready


async def test_two_who_want_it_wait_for_one_making(made: Any, tmp_path: Path) -> None:
    first, second = made(), made()
    told = await asyncio.gather(_all(first), _all(second))
    assert all(one[-1].ready for one in told)
    assert len((tmp_path / "tools" / "calls").read_text().splitlines()) == 2


async def test_a_cancelled_making_stops_at_once_and_is_cleaned_later(made: Any, tmp_path: Path) -> None:
    environments = made(fails="sleep 30")
    task = asyncio.create_task(_all(environments))
    while not (tmp_path / "tools" / "calls").exists():  # noqa: ASYNC110 - the other side tells nobody
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 1
    [draft] = (tmp_path / "environments").glob(".building-*")
    assert environments.clean(keep=()) == [draft]
    assert not draft.exists()


async def test_whatever_it_follows_from_makes_it_another(made: Any) -> None:
    environments = made()
    here = environments.path_of("demo", "1.0", PROCESS)
    other = PROCESS.model_copy(update={"requirements": ["numpy<2"]})
    assert environments.path_of("demo", "1.0", other) != here
    assert environments.path_of("demo", "1.0", PROCESS.model_copy(update={"overrides": []})) != here
    assert environments.path_of("demo", "1.0", PROCESS.model_copy(update={"command": ["sh"]})) == here
    assert "/" not in environments.path_of("de/mo", "1/0", PROCESS).name.removeprefix("x")


async def test_unwanted_ones_go_unless_a_lab_uses_them(made: Any) -> None:
    environments = made()
    await _all(environments)
    first = environments.ready("demo", "1.0", PROCESS)
    other = PROCESS.model_copy(update={"requirements": ["numpy<2"]})
    await _all(environments, other)
    rubbish = environments._folder / ".building-demo-1.0-abc"
    (rubbish / "x").mkdir(parents=True)
    assert environments.clean(keep=set()) == [rubbish]  # a launch may still want the first
    os.utime(first / MARK, (1, 1))
    assert environments.clean(keep={first}) == []
    assert environments.clean(keep=set()) == [first]
    assert environments.ready("demo", "1.0", other)


async def test_one_that_is_wanted_again_stays_although_it_is_the_older(made: Any) -> None:
    environments = made()
    other = PROCESS.model_copy(update={"requirements": ["numpy<2"]})
    await _all(environments)
    await _all(environments, other)
    os.utime(environments.ready("demo", "1.0", other) / MARK, (1000, 1000))
    await _all(environments)
    second = environments.path_of("demo", "1.0", other)
    assert environments.clean(keep=set()) == [second]
    assert environments.ready("demo", "1.0", PROCESS)


async def test_the_lab_package_is_a_wheel_made_from_its_source(made: Any, tmp_path: Path) -> None:
    source = tmp_path / "lab"
    (source / "src" / "datalabs_lab").mkdir(parents=True)
    (source / "src" / "datalabs_lab" / "__init__.py").write_text("x = 1\n")
    (source / "pyproject.toml").write_text('[project]\nname = "datalabs-lab"\nversion = "2.0"\n')
    process = PROCESS.model_copy(update={"requirements": ["datalabs_lab", "numpy"]})
    environments = made(
        package=source, fails='cat "$(dirname "$(dirname "$2")")/.inputs/requirements.txt" >&2'
    )
    before = environments.path_of("demo", "1.0", process)
    told = await _all(environments, process)
    assert told[-1].ready
    (source / "src" / "datalabs_lab" / "__init__.py").write_text("x = 2\n")
    assert environments.path_of("demo", "1.0", process) != before


async def test_without_the_lab_package_the_reason_is_said(made: Any) -> None:
    process = PROCESS.model_copy(update={"requirements": ["datalabs-lab"]})
    assert "datalabs-lab" in (await _all(made(), process))[-1].text


def test_what_uv_says_becomes_progress() -> None:
    reading = _Reading()
    assert reading.progress(0, 0.0).text == "Choosing package versions"
    for line in ("Resolved 122 packages in 1s", "Downloading scipy (33MiB)", "Downloading numpy (16MiB)"):
        reading.take(line)
    assert reading.progress(0, 0.0).text == "Fetching 122 packages (0 of 2 large ones here)"
    reading.take(" Downloaded scipy")
    assert reading.progress(0, 0.0).fraction == pytest.approx(0.275)
    reading.take("Prepared 122 packages in 3s")
    assert reading.progress(84, 0.0).text == "Installing 84 of 122 packages"
    reading.take("Installed 122 packages in 3s")
    assert reading.progress(122, 0.5).text == "Compiling for a fast start (50%)"
