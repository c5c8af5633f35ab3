"""A platform backed up while it runs, restored in another folder: people, labs, usage and history go on."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from datalabs_client import Datalabs
from datalabs_testing.edge import free_port
from tests.running import TEST_CONTENT, RunningPlatform, running


async def used(datalabs: Datalabs) -> list[dict[str, Any]]:
    return [row async for row in datalabs.items("/usage", by="lab")]


async def test_a_restored_platform_goes_on_where_the_backup_was_made(tmp_path: Path) -> None:
    copy = tmp_path / "backup"
    with running(content=[TEST_CONTENT]) as old:
        async with old.client("ada") as datalabs:
            lab = await datalabs.launch("stub", name="before the fire")
            await lab.ready(timeout=60)
            await lab.stop()
            ended = await lab.ended(timeout=60)
            usage: list[dict[str, Any]] = []
            async with asyncio.timeout(30):
                while not usage or usage[0]["running"]:  # the ledger follows
                    await asyncio.sleep(0.1)
                    usage = await used(datalabs)
        (old.state / "volumes" / "home" / "ada" / "note.txt").write_text("kept")
        assert "backed up" in old.command("backup", str(copy)).stdout
        assert "exists" in old.command("backup", str(copy), check=False).stderr
        volumes = tmp_path / "volumes"
        shutil.copytree(old.state / "volumes", volumes)
        settings, passwords = old.settings, old.credentials()
    new = RunningPlatform(state=tmp_path / "s", port=free_port(), settings=settings)
    new.command("restore", str(copy))
    shutil.copytree(volumes, new.state / "volumes", dirs_exist_ok=True)
    try:
        new.up()
        assert new.credentials() == passwords
        async with new.client("ada") as datalabs:
            found = (await datalabs.lab(lab.id)).lab
            assert (found.name, found.state, found.ended_at) == (
                "before the fire",
                ended.state,
                ended.ended_at,
            )
            after = await used(datalabs)
            assert [(row["lab"], row["seconds"]) for row in after] == [
                (row["lab"], row["seconds"]) for row in usage
            ]
            again = await datalabs.launch("stub")
            await again.ready(timeout=60)
        assert (new.state / "volumes" / "home" / "ada" / "note.txt").read_text() == "kept"
    finally:
        new.down()


@pytest.mark.parametrize("harm", ["torn", "missing"])
def test_a_damaged_backup_is_refused(tmp_path: Path, harm: str) -> None:
    copy = tmp_path / "backup"
    with running(content=[TEST_CONTENT]) as platform:
        platform.command("backup", str(copy))
    dump = copy / "launcher.dump"
    if harm == "torn":
        dump.write_bytes(dump.read_bytes()[:-10])
    else:
        dump.unlink()
    fresh = RunningPlatform(state=tmp_path / "s", port=free_port())
    refused = fresh.command("restore", str(copy), check=False)
    assert refused.returncode != 0
    assert "backup_failed" in refused.stderr
    assert not (fresh.state / "postgres" / "data").exists()
