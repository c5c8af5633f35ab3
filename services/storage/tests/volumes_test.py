import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.volumes import ReleaseVolumes, VolumeKind, VolumesQuery

LAB = "k3v9x2abcd"
OTHER = "m4w8y3bcde"


async def refused(desk: Any, **given: Any) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        await desk.prepare(**given)
    error: ProblemError = caught.value
    return error


async def test_home_and_scratch_are_made_at_first_need(desk: Any, owner_uid: int) -> None:
    prepared = await desk.prepare()
    assert [(mount.target, mount.read_only) for mount in prepared.mounts] == [
        ("/media/home", False),
        ("/media/scratch", False),
    ]
    assert prepared.account == str(desk.layout.accounts / "ada")
    home, scratch = (Path(mount.source) for mount in prepared.mounts)
    assert home == desk.layout.homes / "ada"
    assert scratch == desk.layout.scratches / LAB
    for folder in (home, scratch):
        status = await asyncio.to_thread(folder.stat)
        assert (status.st_uid, status.st_mode & 0o777) == (owner_uid, 0o700)
    assert await desk.facts() == ["volume.created", "volume.created"]


async def test_preparing_again_changes_nothing(desk: Any) -> None:
    first = await desk.prepare()
    assert await desk.prepare(attempt=2) == first
    desk.restart()
    assert await desk.prepare() == first
    assert len(await desk.facts()) == 2


async def test_an_account_that_cannot_be_written_is_told(desk: Any) -> None:
    desk.layout.accounts.parent.mkdir(parents=True, exist_ok=True)
    desk.layout.accounts.write_text("a file")
    error = await refused(desk)
    assert error.code is ProblemCode.VOLUME_UNAVAILABLE
    assert "account of ada" in str(error)


async def test_many_labs_of_one_person_at_once_share_one_home(desk: Any) -> None:
    labs = [LAB[:-1] + letter for letter in "abcdefgh"]
    prepared = await asyncio.gather(*(desk.prepare(lab_id=lab) for lab in labs))
    assert len({each.mounts[0].source for each in prepared}) == 1
    assert len({each.mounts[1].source for each in prepared}) == len(labs)
    assert len(await desk.facts()) == 1 + len(labs)


async def test_labs_prepared_at_once_share_a_statement_and_none_pays_for_anothers_fault(desk: Any) -> None:
    await desk.prepare(lab_id=OTHER, volumes=["scratch"])
    await desk.volumes.release(ReleaseVolumes(lab_id=OTHER))
    fresh, again, gone, odd = await asyncio.gather(
        desk.prepare(volumes=["scratch"]),
        desk.prepare(volumes=["scratch"], attempt=2),
        desk.prepare(lab_id=OTHER, volumes=["scratch"]),
        desk.prepare(lab_id="n5x9z4cdef", volumes=["scratch"], uid=2**70),
        return_exceptions=True,
    )
    assert fresh == again
    assert isinstance(gone, ProblemError)
    assert isinstance(odd, DataError)
    assert await desk.facts() == ["volume.created", "volume.released", "volume.created"]
    assert [folder.name for folder in desk.layout.scratches.iterdir() if folder.name != OTHER] == [LAB]


async def test_while_the_database_is_away_nothing_is_made_and_afterwards_all_is(
    desk: Any, platform: Any
) -> None:
    await desk.prepare()
    labs = [LAB[:-1] + letter for letter in "efgh"]
    await asyncio.to_thread(platform.postgres.kill)
    refused = await asyncio.gather(*(desk.prepare(lab_id=lab) for lab in labs), return_exceptions=True)
    assert {type(error) for error in refused} == {OperationalError}
    assert [folder.name for folder in desk.layout.scratches.iterdir()] == [LAB]
    await asyncio.to_thread(platform.postgres.start)
    await asyncio.gather(*(desk.prepare(lab_id=lab) for lab in labs))
    assert len(await desk.facts()) == 2 + len(labs)


async def test_a_batch_lab_may_want_less(desk: Any) -> None:
    prepared = await desk.prepare(volumes=["scratch"])
    assert [mount.target for mount in prepared.mounts] == ["/media/scratch"]
    error = await refused(desk, volumes=["home", "team-stars"])
    assert (error.code, "team-stars" in error.detail) == (ProblemCode.VOLUME_UNAVAILABLE, True)


async def test_a_home_of_another_uid_is_refused(desk: Any) -> None:
    await desk.prepare()
    assert (await refused(desk, uid=4242)).code == ProblemCode.VOLUME_UNAVAILABLE


async def test_something_else_in_the_homes_place_is_a_reason(desk: Any) -> None:
    desk.layout.homes.mkdir(parents=True)
    (desk.layout.homes / "ada").symlink_to("/etc")
    error = await refused(desk)
    assert (error.code, "ada" in error.detail) == (ProblemCode.VOLUME_UNAVAILABLE, True)


async def test_a_full_disk_stops_launches_with_its_reason(desk: Any) -> None:
    desk.minimum_free_mib = 1 << 40
    desk.restart()
    error = await refused(desk)
    assert (error.code, error.extra["minimum_mib"]) == (ProblemCode.DISK_FULL, 1 << 40)


async def test_starters_are_given_once(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "start.ipynb").write_text("one")
    given = {"starters": [str(tmp_path / "start.ipynb")], "starters_name": "jupyterlab"}
    await desk.prepare(**given)
    notebook = desk.layout.homes / "ada" / "jupyterlab" / "start.ipynb"
    assert notebook.read_text() == "one"
    notebook.write_text("mine")
    (tmp_path / "start.ipynb").write_text("two")
    await desk.prepare(**given, attempt=2)
    assert notebook.read_text() == "mine"
    notebook.unlink()
    await desk.prepare(**given, attempt=3)
    assert not notebook.exists()


async def test_a_home_that_cannot_take_starters_still_makes_a_lab(desk: Any, tmp_path: Path) -> None:
    (tmp_path / "start.ipynb").write_text("one")
    await desk.prepare()
    (desk.layout.homes / "ada" / "jupyterlab").symlink_to(tmp_path)
    prepared = await desk.prepare(starters=[str(tmp_path / "start.ipynb")], starters_name="jupyterlab")
    assert len(prepared.mounts) == 2


async def test_a_deleted_labs_scratch_goes_and_the_home_stays(desk: Any) -> None:
    prepared = await desk.prepare()
    await desk.prepare(lab_id=OTHER)
    home, scratch = (Path(mount.source) for mount in prepared.mounts)
    (home / "work.txt").write_text("kept")
    (scratch / "deep").mkdir()
    (scratch / "deep" / "link").symlink_to(home)
    event = {"event_id": "e1", "consumer": "storage-scratch"}
    await desk.volumes.release(ReleaseVolumes(lab_id=LAB), **event)
    await desk.volumes.release(ReleaseVolumes(lab_id=LAB), **event)
    await desk.volumes.release(ReleaseVolumes(lab_id=LAB))
    assert desk.volumes.something_released.is_set()
    await desk.volumes.sweep()
    assert [path.name for path in desk.layout.scratches.iterdir()] == [OTHER]
    assert (home / "work.txt").read_text() == "kept"
    assert list(desk.layout.retired.iterdir()) == []
    assert (await desk.facts()).count("volume.released") == 1
    assert (await refused(desk)).code == ProblemCode.VOLUME_UNAVAILABLE


async def test_a_release_that_was_cut_short_is_finished_later(desk: Any) -> None:
    await desk.prepare()
    await desk.volumes.release(ReleaseVolumes(lab_id=LAB))
    desk.restart()
    (desk.layout.retired / "half-removed").mkdir(parents=True)
    await desk.volumes.sweep()
    assert list(desk.layout.scratches.iterdir()) == []
    assert list(desk.layout.retired.iterdir()) == []


async def test_a_scratch_whose_time_was_over_begins_anew(desk: Any) -> None:
    scratch = Path((await desk.prepare()).mounts[1].source)
    (scratch / "old").write_text("x")
    await desk.volumes.release(ReleaseVolumes(lab_id=LAB))
    assert (await refused(desk, attempt=2)).code == ProblemCode.VOLUME_UNAVAILABLE
    await desk.prepare(attempt=2, renew=True)
    assert _names(scratch) == []
    (scratch / "new").write_text("y")
    await desk.prepare(attempt=2, renew=True)
    await desk.volumes.sweep()
    assert _names(scratch) == ["new"]
    await desk.volumes.release(ReleaseVolumes(lab_id=LAB))
    await desk.volumes.sweep()
    assert _names(desk.layout.scratches) == []


async def test_a_release_of_nothing_is_fine(desk: Any) -> None:
    await desk.volumes.release(ReleaseVolumes(lab_id=LAB))
    await desk.volumes.sweep()
    assert await desk.facts() == []


async def test_use_is_measured_when_asked_and_kept(desk: Any) -> None:
    prepared = await desk.prepare()
    (Path(prepared.mounts[0].source) / "data").write_bytes(b"x" * 500_000)
    unmeasured = (await desk.volumes.list(VolumesQuery(owner="ada"))).items
    assert unmeasured[0].used_bytes is None, "who does not ask for figures does not wait for them"
    measured = (await desk.volumes.list(VolumesQuery(owner="ada", measure=True))).items
    assert [volume.kind for volume in measured] == [VolumeKind.HOME, VolumeKind.SCRATCH]
    assert 500_000 <= measured[0].used_bytes < 600_000
    assert measured[0].measured_at == desk.clock.now()
    (Path(prepared.mounts[0].source) / "data").unlink()
    again = (await desk.volumes.list(VolumesQuery(owner="ada", measure=True))).items
    assert again == measured, "a fresh figure is not measured anew"
    await desk.clock.advance(3600)
    later = (await desk.volumes.list(VolumesQuery(owner="ada", measure=True))).items
    assert later[0].used_bytes < 100_000
    assert later[0].revision == measured[0].revision + 1
    assert (await desk.facts()).count("volume.measured") == 3
    assert (await desk.volumes.list(VolumesQuery(owner="hypatia"))).items == []
    await desk.volumes.aclose()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_home_is_shown_with_what_it_should_hold_and_never_stops_a_launch(desk: Any) -> None:
    prepared = await desk.prepare()
    home, scratch = (await desk.volumes.list(VolumesQuery(owner="ada"))).items
    assert (home.quota_bytes, scratch.quota_bytes) == (2 * 2**20, None)
    (Path(prepared.mounts[0].source) / "much").write_bytes(b"x" * 3 * 2**20)
    measured = (await desk.volumes.list(VolumesQuery(owner="ada", measure=True))).items[0]
    assert measured.used_bytes > measured.quota_bytes
    assert await desk.prepare(attempt=2) == prepared
    await desk.volumes.aclose()
