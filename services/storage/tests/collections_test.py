import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.base import PageQuery
from datalabs_contracts.datalabs import CollectionRef
from datalabs_contracts.problems import ProblemCode, ProblemError

FILES = {"table.dat": b"1 2 3\n" * 100, "inner/image.fits": b"SIMPLE" * 50}


async def get(desk: Any, name: str = "sun") -> Any:
    return await desk.collections.get(CollectionRef(id=name))


async def refused(desk: Any, name: str) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        await desk.collections.mount(name)
    error: ProblemError = caught.value
    return error


@pytest.mark.parametrize("package", [None, "sunpy==7.0.5"])
async def test_a_described_collection_is_installed_read_only(desk: Any, package: str | None) -> None:
    desk.describe("sun", FILES, package=package)
    await desk.collections.refresh()
    collection = await get(desk)
    assert (collection.available, collection.message, collection.path) == (True, "", "/data/sun")
    assert collection.bytes == sum(map(len, FILES.values()))
    assert {file.path for file in collection.files} == set(FILES)
    mount = await desk.collections.mount("sun")
    assert (mount.target, mount.read_only) == ("/data/sun", True)
    for path, content in FILES.items():
        file = Path(mount.source) / path
        assert file.read_bytes() == content
        assert file.stat().st_mode & 0o777 == 0o444
    assert await desk.facts() == ["collection.changed"] * 3, "waiting, being installed, there"
    assert list(desk.layout.installing.iterdir()) == []


async def test_looking_again_costs_no_fetch_and_tells_nothing(desk: Any) -> None:
    desk.describe("sun", FILES, package="sunpy==7.0.5")
    await desk.collections.refresh()
    facts = await desk.facts()
    for _ in range(3):
        await desk.clock.advance(3600)
        await desk.collections.refresh()
    desk.restart()
    await desk.collections.refresh()
    assert await desk.facts() == facts
    assert desk.shelf.fetched == ["sunpy==7.0.5"]


async def test_a_wrong_checksum_is_not_installed(desk: Any) -> None:
    desk.describe("sun", FILES, package="sunpy==7.0.5")
    desk.shelf.contents["sunpy==7.0.5", "wheel", "data/table.dat"] = b"1 2 4\n" * 100
    await desk.collections.refresh()
    collection = await get(desk)
    assert not collection.available
    assert "checksum" in collection.message
    assert not (desk.layout.collections / "sun").exists()
    assert (await refused(desk, "sun")).code == ProblemCode.VOLUME_UNAVAILABLE


async def test_an_index_that_is_away_is_asked_again_ever_later(desk: Any) -> None:
    desk.describe("sun", FILES, package="sunpy==7.0.5")
    desk.describe("moon", {"m": b"m"})
    desk.shelf.away = True
    await desk.collections.refresh()
    assert (await get(desk, "moon")).available, "one that fails hurts no other"
    assert "ConnectError" in (await get(desk)).message
    for seconds, tries in ((1, 1), (15, 2), (15, 2), (16, 3)):
        await desk.clock.advance(seconds)
        await desk.collections.refresh()
        assert len(desk.shelf.fetched) == tries
    desk.shelf.away = False
    await desk.clock.advance(3600)
    await desk.collections.refresh()
    assert (await get(desk)).available


async def test_damage_is_seen_and_repaired_from_what_is_still_good(desk: Any) -> None:
    desk.describe("sun", FILES, package="sunpy==7.0.5")
    await desk.collections.refresh()
    file = desk.layout.collections / "sun" / "table.dat"
    file.chmod(0o644)
    file.write_bytes(b"9 9 9\n" * 100)
    await desk.clock.advance(3600)
    await desk.collections.refresh()
    assert (await get(desk)).available
    assert file.read_bytes() == FILES["table.dat"]
    assert len(list(desk.layout.replaced.iterdir())) == 1
    await desk.clock.advance(8 * 86400)
    await desk.collections.refresh()
    assert list(desk.layout.replaced.iterdir()) == []


async def test_a_touched_file_is_read_and_found_good(desk: Any) -> None:
    desk.describe("sun", FILES, package="sunpy==7.0.5")
    await desk.collections.refresh()
    os.utime(desk.layout.collections / "sun" / "table.dat", (1, 1))
    desk.restart()
    await desk.collections.refresh()
    assert (await get(desk)).available
    assert len(desk.shelf.fetched) == 1


async def test_vanished_files_are_noticed_at_the_mount(desk: Any) -> None:
    desk.describe("sun", FILES)
    await desk.collections.refresh()
    (desk.layout.collections / "sun").rename(desk.state / "elsewhere")
    assert (await refused(desk, "sun")).code == ProblemCode.VOLUME_UNAVAILABLE
    assert not (await get(desk)).available
    await desk.collections.refresh()
    assert (await desk.collections.mount("sun")).read_only


async def test_a_changed_description_changes_the_files(desk: Any) -> None:
    desk.describe("sun", FILES)
    await desk.collections.refresh()
    revision = (await get(desk)).revision
    desk.describe("sun", {"table.dat": b"new"}, title="The Sun")
    await desk.collections.refresh()
    collection = await get(desk)
    assert (collection.title, collection.available) == ("The Sun", True)
    assert collection.revision > revision
    assert (desk.layout.collections / "sun" / "table.dat").read_bytes() == b"new"
    assert not (desk.layout.collections / "sun" / "inner").exists()


async def test_a_removed_description_withdraws_and_comes_back(desk: Any) -> None:
    file = desk.describe("sun", FILES)
    await desk.collections.refresh()
    file.unlink()
    await desk.collections.refresh()
    assert (await desk.collections.list(PageQuery())).items == []
    assert (await refused(desk, "sun")).code == ProblemCode.UNKNOWN_COLLECTION
    desk.describe("sun", FILES)
    await desk.collections.refresh()
    assert (await get(desk)).available


async def test_unknown_collections_have_their_code(desk: Any) -> None:
    early = await refused(desk, "nowhere")
    assert (early.code, early.retry_after) == (ProblemCode.SERVICE_UNAVAILABLE, 3), (
        "nothing was looked at yet"
    )
    await desk.collections.refresh()
    assert (await refused(desk, "nowhere")).code == ProblemCode.UNKNOWN_COLLECTION
    with pytest.raises(ProblemError) as caught:
        await get(desk, "nowhere")
    assert caught.value.code == ProblemCode.UNKNOWN_COLLECTION


async def test_a_broken_description_hurts_no_other(desk: Any) -> None:
    desk.describe("sun", FILES)
    for name, text in {
        "list": "- a",
        "words": "x",
        "other": "id: another",
        "yaml": "a: [",
        "bytes": "id: bytes\x00",
    }.items():
        (desk.root / "collections" / f"{name}.yml").write_text(text)
    escape = desk.describe("escape", {"a": b"a"})
    escape.write_text(escape.read_text().replace("path: a", "path: ../../a"))
    await desk.collections.refresh()
    assert [each.id for each in (await desk.collections.list(PageQuery())).items] == ["sun"]


async def test_lists_are_paged_without_files(desk: Any) -> None:
    for name in ("a", "b", "c"):
        desk.describe(name, FILES)
    await desk.collections.refresh()
    first = await desk.collections.list(PageQuery(limit=2))
    rest = await desk.collections.list(PageQuery(limit=2, cursor=first.next))
    assert [each.id for each in [*first.items, *rest.items]] == ["a", "b", "c"]
    assert rest.next is None
    assert all(each.files == [] for each in first.items)


async def test_a_full_disk_stops_installation_with_its_reason(desk: Any) -> None:
    desk.describe("sun", FILES)
    desk.minimum_free_mib = 1 << 40
    desk.restart()
    await desk.collections.refresh()
    assert "free" in (await get(desk)).message


async def test_two_processes_install_once(desk: Any) -> None:
    desk.describe("sun", FILES, package="sunpy==7.0.5")
    first = desk.collections
    desk.restart()
    await asyncio.gather(first.refresh(), desk.collections.refresh())
    await asyncio.gather(first.refresh(), desk.collections.refresh())
    assert (await get(desk)).available
    assert len(desk.shelf.fetched) == 1


async def test_one_on_its_way_is_worth_waiting_for(desk: Any) -> None:
    desk.describe("sun", FILES, package="sunpy==7.0.5")
    going, go = asyncio.Event(), asyncio.Event()
    fetch = desk.shelf.fetch

    async def slowly(*arguments: Any) -> Any:
        going.set()
        await go.wait()
        return await fetch(*arguments)

    desk.shelf.fetch = slowly
    installing = asyncio.create_task(desk.collections.refresh())
    await going.wait()
    error = await refused(desk, "sun")
    assert (error.code, error.retry_after) == (ProblemCode.SERVICE_UNAVAILABLE, 3)
    go.set()
    await installing
    assert (await desk.collections.mount("sun")).read_only
