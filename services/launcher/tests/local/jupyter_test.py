"""A real JupyterLab in a real environment, and packages that a person installs. Needs a package index, or uv's cache."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.datalabs import EnvironmentSpecification, ProcessRuntime, Runtime, Runtimes
from datalabs_launcher.local import lab_package
from datalabs_launcher.scheduler import JobState

pytestmark = [pytest.mark.labs, pytest.mark.timeout(600)]

JUPYTER = ProcessRuntime(
    requirements=["datalabs-lab", "jupyterlab==4.6.6", "ipykernel", "nbclient"],
    overrides=["rfc3987-syntax; python_version < '3'"],
    command=["python", "-m", "datalabs_lab.jupyter", "--ip", "{address}", "--port", "{port}"],
)
SECRET = "a lab's secret"
WANTED = EnvironmentSpecification(
    datalab="jupyterlab",
    version="1.0",
    runtimes=Runtimes(order=[Runtime.PROCESS], process=JUPYTER),
    source="",
)


@pytest.fixture
async def jupyter(benches: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    bench = await benches()
    shared = tmp_path_factory.getbasetemp() / "environments"
    if shared.exists():
        bench.scheduler._machine.environments._folder.rmdir()
        shared.rename(bench.scheduler._machine.environments._folder)
    async for told in bench.scheduler.prepare(WANTED, Runtime.PROCESS):
        last = told
    assert last.ready, last.text
    yield bench
    bench.scheduler._machine.environments._folder.rename(shared)


def job(bench: Any, *command: str, **changes: Any) -> Any:
    process = JUPYTER.model_copy(update={"command": list(command)}) if command else JUPYTER
    made = bench.job("true", memory_mib=1024, **changes)
    return dataclasses.replace(made, datalab="jupyterlab", version="1.0", process=process, lab_secret=SECRET)


async def said(bench: Any, made: Any) -> str:
    await bench.scheduler.submit(made)
    await bench.until(made.job_id, JobState.ENDED)
    lines, _ = await bench.scheduler.logs(made.job_id, lines=200)
    return "\n".join(lines)


async def test_it_answers_whoever_knows_its_secret_and_nobody_else(jupyter: Any) -> None:
    made = job(jupyter, activity="jupyter")
    seen = await jupyter.scheduler.submit(made)
    async with asyncio.timeout(60):
        while await ask(seen, "/api/status", SECRET) != 200:  # noqa: ASYNC110 - the other side tells nobody
            await asyncio.sleep(0.02)
    assert await ask(seen, "/lab", SECRET) == 200
    assert await ask(seen, "/api/status", "") in {302, 401, 403}
    await jupyter.scheduler.active(made.job_id)
    await asyncio.sleep(1.5)
    assert await jupyter.scheduler.active(made.job_id) in {False, True}
    await jupyter.scheduler.stop(made.job_id, grace=5)
    ended = await jupyter.until(made.job_id, JobState.ENDED)
    assert ended.end.exit_code == 0
    assert ended.end.asked


async def test_what_a_person_installs_outlives_the_lab(jupyter: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "src" / "handy").mkdir(parents=True)
    (source / "src" / "handy" / "__init__.py").write_text("answer = 42\n")
    (source / "pyproject.toml").write_text('[project]\nname = "datalabs-lab"\nversion = "99"\n')
    wheel = lab_package.wheel(source, jupyter.volume("home/ada", 20_001))
    wheel.chmod(0o644)
    first = await said(
        jupyter,
        job(
            jupyter,
            "bash",
            "-lc",
            f"which pip python; pip install --no-index /media/home/{wheel.name} 2>&1; pip list 2>&1 | grep -i lab",
        ),
    )
    assert "/media/home/.datalabs/packages/jupyterlab-1.0/bin/pip" in first
    assert "Successfully installed" in first
    later = await said(
        jupyter, job(jupyter, "sh", "-c", "python -c 'import handy, sys; print(handy.answer, sys.prefix)'")
    )
    assert later == "42 /media/home/.datalabs/packages/jupyterlab-1.0"
    other = await said(jupyter, job(jupyter, "sh", "-c", "python -c 'import handy' 2>&1", owner="bob"))
    assert "ModuleNotFoundError" in other


async def test_a_package_comes_from_the_sites_index_through_the_labs_own_network(jupyter: Any) -> None:
    code = "pip install tabulate 2>&1 && cd /tmp && python -c 'import tabulate; print(tabulate.__file__)'"
    text = await said(jupyter, job(jupyter, "sh", "-c", code))
    assert "/media/home/.datalabs/packages/jupyterlab-1.0/lib/" in text, text


KERNEL = """
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel()
client.execute_interactive("import sys, ipykernel; print(sys.executable, ipykernel.__file__)")
client.execute_interactive("%pip --version")
client.execute_interactive("!which pip")
manager.shutdown_kernel(now=True)
"""


async def test_a_kernel_knows_the_persons_own_packages(jupyter: Any) -> None:
    text = await said(jupyter, job(jupyter, "python", "-c", KERNEL))
    own = "/media/home/.datalabs/packages/jupyterlab-1.0"
    assert f"{own}/bin/python" in text
    assert "ipykernel/__init__.py" in text
    assert f"{own}/bin/pip" in text
    assert "python 3" in text


async def ask(seen: Any, path: str, secret: str) -> int:
    try:
        reader, writer = await asyncio.open_connection(seen.address, seen.port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x.localhost\r\nX-Lab-Secret: {secret}\r\nConnection: close\r\n\r\n".encode()
        )
        words = (await reader.readline()).split()
        writer.close()
        await writer.wait_closed()
    except OSError:
        return 0
    return int(words[1]) if len(words) > 1 else 0
