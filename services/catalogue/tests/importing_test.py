import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from datalabs_catalogue.errors import UnknownDatalabError
from datalabs_contracts.base import PageQuery
from datalabs_contracts.datalabs import DatalabRef, SpecificationQuery


async def slugs(desk: Any) -> list[str]:
    return [card.slug for card in (await desk.catalogue.list(PageQuery())).items]


async def test_folders_become_entries_and_a_second_look_changes_nothing(desk: Any) -> None:
    desk.write("radio")
    desk.write("optical", mission="Gaia")
    (desk.root / "datalabs" / "notes").mkdir()
    await desk.importer.refresh()
    await desk.importer.refresh()
    await desk.new_importer().refresh()
    assert await slugs(desk) == ["optical", "radio"]
    assert await desk.facts() == ["events.datalab.optical.published", "events.datalab.radio.published"]


async def test_a_change_is_seen_and_published_with_a_higher_revision(desk: Any) -> None:
    desk.write("radio")
    await desk.importer.refresh()
    desk.write("radio", abstract="Now with spectra.")
    await desk.importer.refresh()
    detail = await desk.catalogue.get(DatalabRef(slug="radio"))
    assert (detail.abstract, detail.revision) == ("Now with spectra.", 2)
    assert len(detail.versions) == 1
    assert (await desk.facts()).count("events.datalab.radio.published") == 2


async def test_a_new_version_leaves_the_old_one_with_its_own_files(desk: Any) -> None:
    folder = desk.write("radio")
    (folder / "start.txt").write_text("one")
    await desk.importer.refresh()
    (folder / "start.txt").write_text("two")
    desk.write("radio", version="1.1", ours={"starters": ["start.txt"]})
    await desk.clock.advance(1)
    await desk.importer.refresh()
    detail = await desk.catalogue.get(DatalabRef(slug="radio"))
    assert [version.name for version in detail.versions] == ["1.1", "1.0"]
    assert detail.latest_version == "1.1"
    for version, words in (("1.0", "one"), ("1.1", "two"), (None, "two")):
        found = await desk.specifications.specify(SpecificationQuery(datalab="radio", version=version))
        assert (Path(found.source) / "start.txt").read_text() == words
        assert found.starters == ([] if version == "1.0" else [f"{found.source}/start.txt"])


async def test_a_removed_folder_is_withdrawn_and_comes_back(desk: Any) -> None:
    desk.write("radio")
    desk.write("optical")
    await desk.importer.refresh()
    desk.remove("radio")
    await desk.importer.refresh()
    assert await slugs(desk) == ["optical"]
    with pytest.raises(UnknownDatalabError):
        await desk.catalogue.get(DatalabRef(slug="radio"))
    with pytest.raises(UnknownDatalabError):
        await desk.specifications.specify(SpecificationQuery(datalab="radio"))
    desk.write("radio")
    await desk.importer.refresh()
    assert await slugs(desk) == ["optical", "radio"]
    facts = [fact for fact in await desk.facts() if "radio" in fact]
    assert [fact.rpartition(".")[2] for fact in facts] == ["published", "withdrawn", "published"]


async def test_a_root_that_is_away_takes_nothing_with_it(desk: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    desk.write("theirs", root=other)
    desk.write("radio")
    desk.roots.append(other)
    await desk.importer.refresh()
    shutil.move(other, tmp_path / "away")
    await desk.importer.refresh()
    assert await slugs(desk) == ["radio", "theirs"]
    shutil.move(tmp_path / "away", other)
    await desk.importer.refresh()
    assert await slugs(desk) == ["radio", "theirs"]
    desk.roots.remove(other)
    await desk.new_importer().refresh()
    assert await slugs(desk) == ["radio"]


async def test_a_broken_entry_is_reported_and_hurts_no_other(desk: Any) -> None:
    desk.write("radio")
    broken = desk.write("broken", version=None)
    await desk.importer.refresh()
    assert await slugs(desk) == ["radio"]
    assert "version" in (await desk.problems())["broken"]
    told = await desk.catalogue.import_problems(PageQuery(limit=1))
    assert [Path(one.folder).name for one in told.items] == ["broken"]
    assert (told.items[0].since, told.next) == (desk.clock.now(), None)
    desk.write("broken")
    await desk.importer.refresh()
    assert await slugs(desk) == ["broken", "radio"]
    assert await desk.problems() == {}
    (broken / "datalab-meta.yml").write_text("no entry")
    await desk.importer.refresh()
    assert await slugs(desk) == ["broken", "radio"], "what was good stays until its author repairs it"
    assert "broken" in await desk.problems()
    shutil.rmtree(broken)
    await desk.importer.refresh()
    assert await slugs(desk) == ["radio"]
    assert await desk.problems() == {}


async def test_the_first_of_two_with_one_slug_counts(desk: Any) -> None:
    desk.write("a-radio", ours={"slug": "radio"}, title="First")
    desk.write("b-radio", ours={"slug": "radio"}, title="Second")
    await desk.importer.refresh()
    assert (await desk.catalogue.get(DatalabRef(slug="radio"))).title == "First"
    assert "taken" in (await desk.problems())["b-radio"]


async def test_a_renamed_folder_keeps_its_slug(desk: Any) -> None:
    desk.write("a-radio", ours={"slug": "radio"})
    await desk.importer.refresh()
    (desk.root / "datalabs" / "a-radio").rename(desk.root / "datalabs" / "b-radio")
    await desk.importer.refresh()
    await desk.importer.refresh()
    assert await slugs(desk) == ["radio"]


async def test_too_much_is_refused(desk: Any) -> None:
    folder = desk.write("huge")
    (folder / "disk.img").write_bytes(b"\0" * 3_000_000)
    await desk.importer.refresh()
    assert await slugs(desk) == []
    assert "MiB" in (await desk.problems())["huge"]


async def test_only_the_leader_imports(desk: Any) -> None:
    desk.write("radio")
    desk.lease.held = False
    waiting = asyncio.create_task(desk.importer.refresh())
    await asyncio.sleep(0)
    assert await slugs(desk) == []
    assert not waiting.done()
    desk.lease.held = True
    await waiting
    assert await slugs(desk) == ["radio"]


async def test_copies_are_kept_while_a_version_names_them(desk: Any) -> None:
    desk.write("radio")
    await desk.importer.refresh()
    desk.write("radio", abstract="Changed.")
    await desk.importer.refresh()
    copies = desk.state / "catalogue" / "radio"
    assert len(list(copies.iterdir())) == 2
    await desk.clock.advance(1)
    await desk.importer.clear_sources()
    assert len(list(copies.iterdir())) == 2, "labs may still run from the former one"
    now = desk.clock.now().timestamp()

    for copy in copies.iterdir():
        os.utime(copy, (now - 8 * 86400,) * 2)
    await desk.importer.clear_sources()
    assert len(list(copies.iterdir())) == 1
    found = await desk.specifications.specify(SpecificationQuery(datalab="radio"))
    assert found.source == str(next(copies.iterdir()))


async def test_readiness_waits_for_the_first_look_and_for_no_other(desk: Any) -> None:
    desk.write("radio")
    assert "for the first time" in await desk.importer.check()
    await desk.importer.refresh()
    assert await desk.importer.check() is None
    assert await desk.new_importer().check() is None, "an earlier run has filled it"


async def test_a_site_without_datalabs_is_ready_too(desk: Any) -> None:
    await desk.importer.refresh()
    assert await desk.importer.check() is None
