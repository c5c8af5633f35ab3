"""A desktop in the browser: TigerVNC's and QEMU's screens through the real edge, with keys, pointer and clipboard."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from datalabs_client import Datalabs
from tests.browser.datalabs.desktop.window import COPIED
from tests.browser.driving import Person, arrival, eventually, findings, launch, sideways
from tests.running import RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

DESKTOP = "/.datalabs/desktop$"
SIZE = "(canvas) => [canvas.width, canvas.height]"
COLOURS = """(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  const seen = new Set()
  for (let at = 0; at < data.length; at += 4000) seen.add(`${data[at]},${data[at + 1]},${data[at + 2]}`)
  return [...seen]
}"""


class Window:
    """What the window in the desktop wrote down."""

    def __init__(self, platform: RunningPlatform) -> None:
        self._notes: Path = platform.state / "volumes/home/ada/window.txt"

    async def said(self, line: str) -> str:
        """Wait for a line that matches."""

        async def look() -> str | None:
            text = await asyncio.to_thread(lambda: self._notes.read_text() if self._notes.is_file() else "")
            found = re.search(f"^{line}$", text, re.MULTILINE)
            return found[0] if found else None

        return await eventually(look)


@pytest_asyncio.fixture(loop_scope="session")
async def at_window(
    person: Person, platform: RunningPlatform, ada: Datalabs
) -> AsyncIterator[tuple[Page, str, Window]]:
    """Somebody in front of the desktop with the window."""
    await person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await person.sign_in("ada", at="/datalabs/desktop")
    await launch(page, "A window")
    lab_id = await arrival(page, platform, DESKTOP)
    await connected(page)
    window = Window(platform)
    await window.said("open")
    yield page, lab_id, window
    await ada.lab(lab_id)


async def connected(page: Page) -> None:
    await expect(page.get_by_role("status")).to_have_text("Connected")
    await expect(page.locator("canvas")).to_be_visible()


async def test_keys_pointer_and_both_clipboards(at_window: tuple[Page, str, Window], person: Person) -> None:
    page, _, window = at_window
    assert await page.title() == "A window"
    canvas = page.locator("canvas")
    await canvas.click(position={"x": 200, "y": 200})
    await window.said("click 200 200")
    await page.keyboard.type("xyz")
    await window.said("key z")
    assert "10,98,122" in await canvas.evaluate(COLOURS)

    await page.keyboard.press("F2")
    await window.said("copied")
    assert await eventually(lambda: clipboard(page, COPIED)) == COPIED
    await page.get_by_role("button", name="Clipboard").click()
    field = page.get_by_role("textbox", name=re.compile("^What the desktop has copied"))
    await expect(field).to_have_value(COPIED)
    await field.fill("From the browser: 3 µm")
    await page.keyboard.press("Escape")
    await canvas.click(position={"x": 210, "y": 210})
    await page.keyboard.press("F3")
    await window.said("pasted From the browser: 3 µm")
    assert person.complaints == []


async def clipboard(page: Page, wanted: str) -> str | None:
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text if text == wanted else None


async def test_the_desktop_takes_the_windows_size(at_window: tuple[Page, str, Window]) -> None:
    page, _, _ = at_window
    canvas = page.locator("canvas")

    async def has(width: int, height: int) -> bool:
        bar = await page.locator("header").bounding_box()
        assert bar is not None
        return bool(await canvas.evaluate(SIZE) == [width, height - round(bar["height"])])

    for width, height in ((1100, 700), (800, 900)):
        await page.set_viewport_size({"width": width, "height": height})
        await eventually(lambda: has(width, height))  # noqa: B023 - awaited at once
    # Scaled, it keeps its size and fits all the same.
    await page.get_by_role("button", name="View and keys").click()
    await page.get_by_role("radio", name=re.compile("^Scale")).check()
    size = await canvas.evaluate(SIZE)
    await page.set_viewport_size({"width": 500, "height": 600})
    await expect(canvas).to_have_js_property("clientWidth", 500)
    assert await canvas.evaluate(SIZE) == size


async def test_the_page_is_for_everybody(at_window: tuple[Page, str, Window]) -> None:
    page, _, window = at_window
    for width in (360, 1440):
        await page.set_viewport_size({"width": width, "height": 740})
        for panel in ("", "Clipboard", "View and keys"):
            if panel:
                await page.get_by_role("button", name=panel).click()
            assert [*await findings(page), *await sideways(page)] == []
            if panel:
                await page.keyboard.press("Escape")
    # Every key is the desktop's, but for the chord that brings the keyboard back.
    await page.locator("canvas").click(position={"x": 200, "y": 200})
    await page.keyboard.press("Tab")
    await page.keyboard.type("t")
    await window.said("key t")
    await page.keyboard.press("Control+Alt+Shift+B")
    await expect(page.get_by_role("link", name="Dashboard")).to_be_focused()


async def test_time_left_and_more_of_it(at_window: tuple[Page, str, Window], ada: Datalabs) -> None:
    page, lab_id, _ = at_window
    # What is set elsewhere is on the bar at once; one click gives the site's step again.
    before = (await (await ada.lab(lab_id)).extend(600)).expires_at
    assert before is not None
    await expect(page.get_by_text(re.compile(r"^(9|10) min left$"))).to_be_visible()
    await page.get_by_role("button", name="Extend").click()
    await eventually(lambda: later(ada, lab_id, before.isoformat()))
    await expect(page.get_by_text(re.compile(r"^\d+ h .*left$"))).to_be_visible()


async def later(ada: Datalabs, lab_id: str, before: str) -> bool:
    lab = await (await ada.lab(lab_id)).refresh()
    return lab.expires_at is not None and lab.expires_at.isoformat() > before


async def test_a_dropped_connection_comes_back_and_an_end_is_said(
    at_window: tuple[Page, str, Window], platform: RunningPlatform, ada: Datalabs
) -> None:
    page, lab_id, window = at_window
    platform.kill("envoy")
    await connected_again(page)
    await page.locator("canvas").click(position={"x": 200, "y": 200})
    await page.keyboard.type("q")
    await window.said("key q")
    await (await ada.lab(lab_id)).stop()
    await expect(page.get_by_role("heading", name="This lab has ended")).to_be_visible()
    await expect(page.get_by_text("Your files are safe in your home.")).to_be_visible()
    await page.get_by_role("link", name="Go to the lab's page").click()
    await expect(page).to_have_url(f"{platform.url}/labs/{lab_id}")


async def connected_again(page: Page) -> None:
    """Wait until the page has said that the connection broke, and has it again."""
    await expect(page.get_by_role("heading", name=re.compile("broke|Connecting again"))).to_be_visible()
    await connected(page)


async def test_signing_out_shuts_the_desktop(at_window: tuple[Page, str, Window], person: Person) -> None:
    page, lab_id, _ = at_window
    answer = await person.context.request.delete(
        f"{person.site.url}/api/v1/session", headers={"origin": person.site.url}
    )
    assert answer.ok
    await expect(page.get_by_role("heading", name="This browser is no longer let in")).to_be_visible()
    assert lab_id in (await page.get_by_role("link", name="Open it again").get_attribute("href") or "")


async def test_the_screen_of_a_machine(person: Person, platform: RunningPlatform, ada: Datalabs) -> None:
    page = await person.sign_in("ada", at="/datalabs/machine")
    await launch(page, "A machine")
    lab_id = await arrival(page, platform, DESKTOP)
    await connected(page)
    canvas = page.locator("canvas")
    # The firmware's text: grey letters on black, at the size that the machine has.

    async def drawn() -> bool:
        return bool(len(await canvas.evaluate(COLOURS)) > 1)

    await eventually(drawn)
    assert (await (await ada.lab(lab_id)).refresh()).state == "ready"
    assert person.complaints == []
