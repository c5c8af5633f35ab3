"""The dashboard alone in a real browser: what its pages do, on good days and on bad ones."""

import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.browser.driving import Person, Scheme, a_person
from tests.browser.looks import View, looks
from tests.browser.mocked import Mocked, mocked
from tests.browser.places import PLACES

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="module")
def mock() -> Iterator[Mocked]:
    with mocked() as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def ada(browser: Browser, mock: Mocked) -> AsyncIterator[Person]:
    mock.do("restore")
    async with a_person(browser, mock) as person:
        await person.slip_in("ada")
        yield person


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the focus is there."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await target.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"Tab never reached {target}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["wide", "narrow"])
async def test_no_page_has_findings_of_axe_or_is_too_wide(
    browser: Browser, mock: Mocked, scheme: Scheme, view: View
) -> None:
    mock.do("restore")
    assert [text async for text in looks(browser, mock, PLACES, scheme=scheme, view=view)] == []


async def test_one_click_launches_and_the_page_goes_to_the_lab_by_itself(ada: Person) -> None:
    page = await ada.opened("/datalabs/jupyterlab")
    async with page.expect_request("**/api/v1/telemetry") as sent:
        await page.get_by_role("button", name="Launch", exact=True).click()
    await page.wait_for_url(re.compile(r"/mock-lab\.html\?lab="))
    body = (await sent.value).post_data_json
    assert body
    span = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert span["name"] == "launch"
    assert re.fullmatch("[0-9a-f]{32}", span["traceId"])


async def test_two_clicks_are_one_launch(ada: Person) -> None:
    page = await ada.opened("/datalabs/terminal")
    keys: list[str] = []
    page.on(
        "request",
        lambda request: (
            keys.append(request.headers["idempotency-key"])
            if request.method == "POST" and request.url.endswith("/api/v1/labs")
            else None
        ),
    )
    await page.get_by_role("button", name="Launch", exact=True).dblclick()
    await page.wait_for_url(re.compile("launching|mock-lab"))
    assert len(set(keys)) == 1


async def test_the_switch_keeps_the_page_from_leaving(ada: Person) -> None:
    page = await ada.opened("/datalabs/jupyterlab")
    await page.get_by_role("button", name="Launch", exact=True).click()
    await page.get_by_role("switch", name="Go there by itself").click()
    await page.get_by_text("It is ready.").wait_for()
    await expect(page).to_have_title(re.compile("✓ Ready"))
    await expect(page).to_have_url(re.compile("/launching$"))
    await expect(page.get_by_role("link", name="Go to the lab")).to_be_visible()


async def test_a_launch_link_fills_the_panel(ada: Person) -> None:
    page = await ada.opened("/launch/report?size=large&parameters=%7B%22year%22%3A1999%7D")
    await expect(page.get_by_role("radio", name=re.compile("Large"))).to_have_attribute(
        "aria-checked", "true"
    )
    await expect(page.get_by_label("Year")).to_have_value("1999")
    await expect(page.get_by_text("Waits in the queue")).to_be_visible()


async def test_what_never_fits_says_why_and_cannot_be_launched(ada: Person) -> None:
    page = await ada.opened("/launch/jupyterlab?size=huge")
    await expect(page.get_by_text("the largest machine of this site has 8")).to_be_visible()
    await expect(page.get_by_role("button", name="Launch", exact=True)).to_be_disabled()


async def test_the_catalogue_keeps_its_state_in_the_address(ada: Person) -> None:
    page = await ada.opened("/catalogue")
    await page.get_by_role("checkbox", name=re.compile("^Geodesy")).check()
    await page.get_by_role("searchbox").fill("rotation")
    await page.wait_for_url(re.compile("q=rotation"))
    await expect(page.get_by_role("status").filter(has_text="2 datalabs found")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("searchbox")).to_have_value("rotation")
    await expect(page.get_by_role("checkbox", name=re.compile("^Geodesy"))).to_be_checked()
    await page.get_by_role("searchbox").fill("jupitr")
    await page.get_by_role("link", name="jupyter").wait_for()


async def test_an_ended_session_loses_nothing_of_the_page(ada: Person, mock: Mocked) -> None:
    page = await ada.opened("/launch/report")
    await page.get_by_label("Year").fill("1984")
    mock.do("expire")
    dialog = page.get_by_role("dialog", name="Your session has ended")
    await dialog.wait_for()
    await dialog.get_by_label("Password", exact=True).fill("a password")
    await dialog.get_by_role("button", name="Sign in").click()
    await dialog.wait_for(state="hidden")
    await expect(page.get_by_label("Year")).to_have_value("1984")
    await page.get_by_role("button", name="Launch", exact=True).click()
    await page.wait_for_url(re.compile("/labs/"))


async def test_a_launch_that_meets_an_ended_session_goes_on_after_it(ada: Person) -> None:
    page = await ada.opened("/datalabs/terminal")
    await ada.context.clear_cookies()
    await page.get_by_role("button", name="Launch", exact=True).click()
    dialog = page.get_by_role("dialog", name="Your session has ended")
    await dialog.get_by_label("Password", exact=True).fill("a password")
    await dialog.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(re.compile("/launching|mock-lab"))


async def test_a_lost_connection_is_told_and_comes_back(ada: Person, mock: Mocked) -> None:
    page = await ada.opened("/labs")
    mock.do("outage?seconds=4")
    await page.get_by_text(re.compile(r"Reconnecting; what you see is from \d\d:\d\d:\d\d")).wait_for()
    await page.get_by_text(re.compile("Reconnecting")).wait_for(state="hidden")
    mock.do("expiring")
    await page.get_by_text("Length of day ends in 5 min").first.wait_for()


def followers(mock: Mocked) -> int:
    """How many event streams this platform has open."""
    return int(json.loads(mock.do("look"))["followers"])


async def test_ten_tabs_share_one_connection_and_all_stay_live(ada: Person, mock: Mocked) -> None:
    pages = [await ada.opened("/labs") for _ in range(10)]
    assert followers(mock) == 1
    stop = pages[3].get_by_role("article", name=re.compile("^Length of day: "))
    await stop.get_by_role("button", name="Stop").click()
    for page in pages:
        await page.get_by_role("article", name=re.compile("^Length of day: ")).wait_for(state="hidden")
    leader, *others = pages
    await leader.close()
    await others[0].wait_for_timeout(3_000)
    assert followers(mock) == 1
    mock.do("restore")
    mock.do("reset")
    for page in others:
        await page.get_by_role("article", name=re.compile("^Length of day: ")).wait_for()
    assert followers(mock) == 1


async def test_nothing_is_asked_for_while_nothing_happens(ada: Person) -> None:
    page = await ada.opened("/labs")
    await page.wait_for_timeout(1_500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.wait_for_timeout(6_000)
    assert asked == []


async def test_a_deletion_can_be_undone(ada: Person) -> None:
    page = await ada.opened("/labs")
    await page.get_by_text(re.compile("ended labs")).click()
    row = page.get_by_role("link", name=re.compile("^Planets"))
    await page.get_by_role("button", name="Delete Planets").click()
    await row.wait_for(state="hidden")
    await page.get_by_role("button", name="Undo").click()
    await row.wait_for()
    await page.get_by_role("button", name="Delete Planets").click()
    await page.mouse.move(5, 5)
    await page.get_by_role("button", name="Undo").wait_for(state="hidden")
    await page.reload()
    await page.get_by_text(re.compile("ended labs")).click()
    await expect(page.get_by_role("link", name=re.compile("^Planets"))).to_have_count(0)


async def test_the_palette_finds_by_keyboard_alone(ada: Person) -> None:
    page = await ada.opened("/data")
    await page.keyboard.press("Control+k")
    await page.get_by_role("combobox").wait_for()
    await page.keyboard.type("gnss ear")
    await page.get_by_role("option", name=re.compile("GNSS and Earth rotation")).first.wait_for()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("/(labs|datalabs)/"))


async def test_a_launch_needs_no_pointer(ada: Person) -> None:
    page = await ada.opened("/catalogue")
    await page.keyboard.press("/")
    await page.keyboard.type("terminal")
    await page.wait_for_url(re.compile("q=terminal"))
    link = page.get_by_role("link", name="Terminal", exact=True).last
    await tab_to(page, link)
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("/datalabs/terminal"))
    launch = page.get_by_role("button", name="Launch", exact=True)
    await launch.wait_for()
    await tab_to(page, launch)
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("launching|mock-lab"))


async def test_operators_pages_are_not_for_others(browser: Browser, mock: Mocked, ada: Person) -> None:
    page = await ada.opened("/operations/events")
    await expect(page.get_by_text("Only operators may look here.")).to_be_visible()
    async with a_person(browser, mock) as admin:
        await admin.slip_in("admin")
        page = await admin.opened("/operations/dead-letters")
        await page.get_by_text("accounting-ledger").click()
        await page.get_by_role("button", name="Replay").click()
        await page.get_by_text("Handed over again").wait_for()


async def test_two_hundred_cards_on_a_telephone(browser: Browser, mock: Mocked) -> None:
    async with a_person(browser, mock, width=360, height=740) as person:
        await person.slip_in("crowd")
        page = await person.opened("/catalogue")
        await expect(page.get_by_text("206 datalabs")).to_be_visible()
        await page.get_by_role("button", name="Narrow down").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("checkbox", name=re.compile("^Planetary science")).check()
        await page.wait_for_url(re.compile("Planetary"))


async def test_a_launch_that_is_ready_says_how_long_it_took(ada: Person) -> None:
    page = await ada.opened("/datalabs/jupyterlab")
    await page.get_by_role("button", name="Launch", exact=True).click()
    await page.get_by_role("switch", name="Go there by itself").click()
    seen: list[str] = []
    await page.expose_function("told", lambda text: seen.append(text))  # noqa: PLW0108 - a method takes no attributes
    await page.evaluate(
        """() => new MutationObserver(() => told(document.querySelector('main').innerText))
          .observe(document.body, {subtree: true, childList: true, characterData: true})"""
    )
    await page.get_by_text("It is ready.").wait_for()
    ready = [text for text in seen if "It is ready." in text]
    assert ready
    assert [text for text in ready if "under 1 ms" in text or re.search(r"\n0 s\n", text)] == []


async def test_a_waiting_lab_says_its_place_its_reason_and_how_long(ada: Person) -> None:
    page = await ada.opened("/labs")
    card = page.get_by_role("article", name="GNSS and Earth rotation: Queued")
    await expect(card).to_contain_text("Needs 2 cores on one node; the largest free is 1.5")
    await expect(card).to_contain_text(re.compile("Place in the queue\\s*3rd"))
    await expect(card).to_contain_text(re.compile("Expected to start\\s*in ~2 min"))
    await card.get_by_role("button", name="Cancel").click()
    await expect(card).to_have_count(0)


async def test_a_lab_is_kept_for_a_long_run(ada: Person) -> None:
    page = await ada.opened("/labs")
    card = page.get_by_role("article", name="Length of day: Ready")
    await card.get_by_role("button", name="More for Length of day").click()
    await page.get_by_role("menuitem", name="Keep for 24 hours").click()
    await expect(card).to_contain_text("Kept for a long run until")


async def test_what_ended_says_until_when_its_files_are_kept(ada: Person) -> None:
    page = await ada.opened("/labs")
    failed = page.get_by_role("article", name="Report 2025: Failed")
    await expect(failed).to_contain_text("Its scratch files are kept until")
    await expect(failed.get_by_role("button", name="Restart")).to_be_visible()
    await page.get_by_text(re.compile("ended labs")).click()
    await expect(page.locator("details").first).to_contain_text("Its scratch files are kept until")


async def test_what_a_lab_uses_is_shown_with_disk_and_network(ada: Person) -> None:
    page = await ada.opened("/labs/k3v9x2mnpq")
    uses = page.get_by_role("region", name="What it uses")
    for measure in ("CPU", "Memory", "Scratch", "Received", "Sent"):
        await expect(uses.get_by_role("img", name=re.compile(f"^{measure}: now"))).to_be_visible()


@pytest_asyncio.fixture(loop_scope="session")
async def admin(browser: Browser, mock: Mocked) -> AsyncIterator[Person]:
    mock.do("restore")
    async with a_person(browser, mock) as person:
        await person.slip_in("admin")
        yield person


async def test_launches_are_not_buried_among_traces(admin: Person) -> None:
    page = await admin.opened("/operations/traces")
    table = page.get_by_role("table")
    await expect(table.get_by_role("link", name="launch").first).to_be_visible()
    await expect(table.get_by_role("link", name="ingress")).to_have_count(0)
    await page.get_by_role("switch", name="Launches only").click()
    await expect(page).to_have_url(re.compile(r"name=(%2A|\*)"))
    await expect(table.get_by_role("link", name="ingress").first).to_be_visible()
    await page.get_by_label("Service").fill("edge")
    await page.keyboard.press("Enter")
    await expect(table.get_by_role("link", name="launch")).to_have_count(0)
    await page.reload()
    await expect(page.get_by_label("Service")).to_have_value("edge")


async def test_an_operator_sets_what_a_person_may_have(admin: Person) -> None:
    page = await admin.opened("/operations/people")
    await page.get_by_role("link", name="vera").click()
    form = page.get_by_role("form", name="Limits of vera")
    await expect(form).to_contain_text("1 of 8")
    await form.get_by_role("textbox", name="Labs").fill("2")
    await form.get_by_role("button", name="Set").click()
    await expect(form).to_contain_text("1 of 2")
    rules = page.get_by_role("form", name="Rules for labs of vera")
    await rules.get_by_label("Ends when unused for, minutes").fill("30")
    await rules.get_by_role("button", name="Set").click()
    await expect(rules).to_contain_text("by admin")


async def test_an_operator_lets_somebody_go_first_and_ends_a_wait(admin: Person) -> None:
    page = await admin.opened("/operations/queue")
    row = page.get_by_role("row").filter(has_text="GNSS and Earth rotation")
    await expect(row).to_contain_text("A machine is being freed")
    await row.get_by_label(re.compile("^Priority of")).fill("80")
    await row.get_by_role("button", name="Set").click()
    await expect(row.get_by_role("button", name="Set")).to_be_disabled()
    await page.reload()
    await expect(row.get_by_label(re.compile("^Priority of"))).to_have_value("80")
    await row.get_by_role("button", name="Cancel GNSS and Earth rotation").click()
    await expect(page.get_by_text("Nobody waits")).to_be_visible()


async def test_an_operator_sees_machines_and_what_is_not_ready(admin: Person) -> None:
    page = await admin.opened("/operations/nodes")
    await expect(page.get_by_role("meter", name="NVIDIA A100")).to_have_attribute("aria-valuetext", "1 of 2")
    await expect(page.get_by_text("No answer from nomad-east")).to_be_visible()
    await page.get_by_role("link", name="Preparation").click()
    await expect(page.get_by_text("`version` is missing.")).to_be_visible()
    await expect(page.get_by_role("progressbar").first).to_be_visible()
