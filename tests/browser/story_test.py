"""The whole story in a real browser: from the sign-in to a plot of one's own, and what it cost."""

import asyncio
import json
import os
import re
import time
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, WebSocket, expect

from datalabs_client import Datalabs
from datalabs_contracts.labs import Lab, LabState, Reason
from tests.browser.driving import Person, a_person, arrival, eventually, launch, run_in_a_notebook, settled
from tests.running import RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

CODE = """\
lines = [line for line in open("/data/iers/eopc04.1962-now") if not line.startswith("#")]
saved = open("/media/home/first-look.txt", "w").write(f"{len(lines)} days of the Earth's rotation")
print("days:", len(lines), "saved:", saved)"""


class Process:
    """The lab's program as the kernel sees it."""

    def __init__(self, platform: RunningPlatform, lab_id: str) -> None:
        [state] = (platform.state / "labs").glob(f"lab-{lab_id}-*/state.json")
        self.pid = int(json.loads(state.read_text())["pid"])
        ticks = int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self.began = booted + ticks / os.sysconf("SC_CLK_TCK")
        self._watch = os.pidfd_open(self.pid)

    async def life(self) -> float:
        """Wait for its end and return the seconds it lived."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._watch, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), 60)
            return time.time() - self.began
        finally:
            loop.remove_reader(self._watch)
            os.close(self._watch)


async def find_in_the_catalogue(page: Page, text: str, title: str) -> None:
    await page.get_by_label("Search the catalogue").press_sequentially(text, delay=20)
    await expect(page).to_have_url(re.compile(rf"/catalogue\?q={text}"))
    await expect(page.get_by_role("list").get_by_role("article").first).to_contain_text(title)
    await page.get_by_role("link", name=title, exact=True).click()
    await expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()


async def work_in_a_notebook(page: Page, name: str) -> None:
    """Make a notebook in the real JupyterLab, run a cell and save it under a name."""
    await run_in_a_notebook(page, CODE, re.compile(r"days: \d{5} saved: \d+"))
    await page.keyboard.press("Control+s")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("textbox").fill(name)
    await dialog.get_by_role("button", name="Rename").last.click()
    await expect(page.get_by_role("tab", name=name).first).to_be_visible()
    await expect(dialog).to_have_count(0)
    await page.keyboard.press("Control+s")


async def test_from_the_front_door_to_the_trace(
    browser: Browser, person: Person, platform: RunningPlatform, ada: Datalabs
) -> None:
    page = await person.sign_in("ada")
    await find_in_the_catalogue(page, "jupyt", "JupyterLab")
    await launch(page, "JupyterLab")
    lab_id = await arrival(page, platform, "/lab")
    process = Process(platform, lab_id)
    await expect(page).to_have_title(re.compile("JupyterLab"))

    home = platform.state / "volumes/home/ada"
    await work_in_a_notebook(page, "story.ipynb")
    text = await eventually(lambda: reading(home / "first-look.txt"))
    assert re.fullmatch(r"2\d{4} days of the Earth's rotation", text)
    notebook = json.loads(await eventually(lambda: reading(home / "story.ipynb", having="days: ")))
    assert "".join(notebook["cells"][0]["source"]) == CODE
    assert (home / "jupyterlab/earth-rotation.ipynb").is_file()

    # The lab went where the launching page was: one step back is the dashboard again.
    page = await person.page()
    await person.go(page, "/catalogue")
    await page.get_by_role("link", name=re.compile("^My Datalabs")).click()
    now = page.get_by_role("article", name="JupyterLab: Ready")
    await now.get_by_role("button", name="Stop").click()
    life = await process.life()
    past = page.locator("details", has_text="1 ended lab")
    await expect(past).to_contain_text("Stopped")
    await expect(past).to_contain_text("You stopped it.")

    lab = await (await ada.lab(lab_id)).until(lambda lab: lab.state.ended, timeout=60)
    assert (lab.state, lab.reason) == (LabState.STOPPED, Reason.STOPPED_BY_USER)
    assert lab.started_at is not None
    assert lab.ended_at is not None
    recorded = (lab.ended_at - lab.started_at).total_seconds()
    assert recorded == pytest.approx(life, abs=1)

    async def billed() -> float | None:
        async for row in ada.items("/usage", by="lab"):
            if row["lab"] == lab_id and not row["running"]:
                return float(row["seconds"])
        return None

    assert await eventually(billed) == pytest.approx(recorded, abs=0.01)
    await page.get_by_role("link", name="Usage", exact=True).click()
    rows = page.get_by_role("table").get_by_role("row", name=re.compile("JupyterLab"))
    await expect(rows.first).to_be_visible()

    await person.go(page, f"/labs/{lab_id}")
    timeline = page.get_by_role("region", name="Launch")
    await expect(timeline).to_contain_text("From the request to ready in")
    await expect(timeline.get_by_role("row")).not_to_have_count(1)
    assert person.complaints == []

    async with a_person(browser, platform) as operator:
        page = await operator.sign_in("admin", at="/operations/traces")
        await open_trace_of(page, lab)
        assert operator.complaints == []


async def open_trace_of(page: Page, lab: Lab) -> None:
    await page.get_by_label("Lab", exact=True).fill(lab.id)
    await page.get_by_label("At least, seconds").fill("0.3")  # its requests are quicker, and many
    await page.keyboard.press("Enter")
    assert lab.trace_id is not None
    row = page.get_by_role("row").filter(has_text=lab.trace_id[:8])
    await row.get_by_role("link").first.click()
    await page.wait_for_url(re.compile("/operations/traces/[0-9a-f]{32}"))
    trace = page.get_by_role("region", name="Trace")
    for service in ("dashboard", "datalabs-gateway", "datalabs-launcher", "edge"):
        await expect(trace.get_by_role("listitem").filter(has_text=service).first).to_be_visible()
    spans = trace.locator("button[aria-expanded]")
    assert await spans.count() > 10
    await spans.nth(1).click()
    await expect(trace.get_by_text("Starts", exact=True)).to_be_visible()


async def reading(path: Path, *, having: str = "") -> str | None:
    """Return what a file of the lab holds, once it holds it."""
    text = await asyncio.to_thread(lambda: path.read_text() if path.is_file() else "")
    return text if text and having in text else None


async def test_a_deep_link_brings_its_choices(person: Person, platform: RunningPlatform) -> None:
    page = await person.sign_in("ada", at="/launch/terminal?size=small")
    await expect(page).to_have_url(f"{platform.url}/launch/terminal?size=small")
    await settled(page)
    await expect(page.get_by_role("form", name="Launch Terminal")).to_be_visible()
    await expect(page.get_by_role("radio", checked=True)).to_contain_text("Small")
    await page.goto(f"{platform.url}/launch/terminal?size=medium")
    await expect(page.get_by_role("radio", checked=True)).to_contain_text("Medium")
    assert person.complaints == []


async def test_the_terminal_answers(person: Person, platform: RunningPlatform, ada: Datalabs) -> None:
    page = await person.sign_in("ada", at="/launch/terminal?size=small")
    # The terminal paints its text onto a canvas; what it was given to paint is read from its WebSocket.
    heard: list[str] = []

    def listen(socket: WebSocket) -> None:
        if socket.url.endswith("/terminals/websocket/1"):
            socket.on("framereceived", lambda frame: heard.append(str(frame)))

    async def shown(pattern: str) -> bool:
        text = "".join(message[1] for message in map(json.loads, heard) if message[0] == "stdout")
        return bool(re.search(pattern, text))

    page.on("websocket", listen)
    await launch(page, "Terminal")
    lab_id = await arrival(page, platform, "/terminals/1")
    await eventually(lambda: shown(r"ada@.+\$ "))
    await page.get_by_label("Terminal input").focus()
    await page.keyboard.type("echo $((6 * 7)) for $DATALABS_LAB_ID; ls /data\n")
    await eventually(lambda: shown(f"42 for {lab_id}\\s+de421 +iers +rinex +sun"))
    assert (await (await ada.lab(lab_id)).refresh()).state is LabState.READY


async def test_an_ordinary_application_lives_behind_its_own_origin(
    person: Person, platform: RunningPlatform, ada: Datalabs
) -> None:
    page = await person.sign_in("ada", at="/launch/web-explorer")
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await launch(page, "Earth Orientation Explorer")
    lab_id = await arrival(page, platform, "/")
    await expect(page.get_by_role("heading", name="How the Earth turns")).to_be_visible()
    assert f"ws://{lab_id}.localhost:{platform.port}/_stcore/stream" in sockets
    # What the widget changes comes back by the WebSocket.
    await page.get_by_role("combobox").click()
    await page.get_by_role("option", name="Pole, y (arcsec)").click()
    await expect(page.get_by_role("heading", name="Pole, y (arcsec)")).to_be_visible()
    assert [lab.id for lab in await ada.labs()] == [lab_id]
