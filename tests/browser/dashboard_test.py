"""The dashboard alone in a real browser: what its pages do, on good days and on bad ones."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.driver import NARROW, WIDE, chromium, settled, sign_in
from tests.browser.looks import PAGES, looks
from tests.browser.mocked import mocked

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    with mocked() as base:
        yield base


@pytest.fixture
def ada(browser: Browser, mock: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=mock, **WIDE)
    context.request.post(f"{mock}/mock/restore")
    sign_in(context, mock, "ada", "a password")
    yield context
    context.close()


def opened(context: BrowserContext, path: str) -> Page:
    page, _ = settled(context, path)
    return page


def test_no_page_has_findings_of_axe_or_scrolls_sideways(browser: Browser, mock: str) -> None:
    assert list(looks(browser, mock, None, set(PAGES))) == []


def test_one_click_launches_and_the_page_goes_to_the_lab_by_itself(ada: BrowserContext) -> None:
    page = opened(ada, "/datalabs/jupyterlab")
    with page.expect_request("**/api/v1/telemetry") as sent:
        page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(re.compile(r"/mock-lab\.html\?lab="), timeout=15_000)
    body = sent.value.post_data_json
    assert body
    span = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert span["name"] == "launch"
    assert re.fullmatch("[0-9a-f]{32}", span["traceId"])


def test_two_clicks_are_one_launch(ada: BrowserContext) -> None:
    page = opened(ada, "/datalabs/terminal")
    keys: list[str] = []
    page.on(
        "request",
        lambda request: (
            keys.append(request.headers["idempotency-key"])
            if request.method == "POST" and request.url.endswith("/api/v1/labs")
            else None
        ),
    )
    page.get_by_role("button", name="Launch", exact=True).dblclick()
    page.wait_for_url(re.compile("launching|mock-lab"))
    assert len(set(keys)) == 1


def test_the_switch_keeps_the_page_from_leaving(ada: BrowserContext) -> None:
    page = opened(ada, "/datalabs/jupyterlab")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.get_by_role("switch", name="Go there by itself").click()
    page.get_by_text("It is ready.").wait_for()
    expect(page).to_have_title(re.compile("✓ Ready"))
    expect(page).to_have_url(re.compile("/launching$"))
    expect(page.get_by_role("link", name="Go to the lab")).to_be_visible()


def test_a_launch_link_fills_the_panel(ada: BrowserContext) -> None:
    page = opened(ada, "/launch/report?size=large&parameters=%7B%22year%22%3A1999%7D")
    expect(page.get_by_role("radio", name=re.compile("Large"))).to_have_attribute("aria-checked", "true")
    expect(page.get_by_label("Year")).to_have_value("1999")
    expect(page.get_by_text("Waits in the queue")).to_be_visible()


def test_what_never_fits_says_why_and_cannot_be_launched(ada: BrowserContext) -> None:
    page = opened(ada, "/launch/jupyterlab?size=huge")
    expect(page.get_by_text("the largest machine of this site has 8")).to_be_visible()
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_disabled()


def test_the_catalogue_keeps_its_state_in_the_address(ada: BrowserContext) -> None:
    page = opened(ada, "/catalogue")
    page.get_by_role("checkbox", name=re.compile("^Geodesy")).check()
    page.get_by_role("searchbox").fill("rotation")
    page.wait_for_url(re.compile("q=rotation"))
    expect(page.get_by_role("status").filter(has_text="2 datalabs found")).to_be_visible()
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("rotation")
    expect(page.get_by_role("checkbox", name=re.compile("^Geodesy"))).to_be_checked()
    page.get_by_role("searchbox").fill("jupitr")
    page.get_by_role("link", name="jupyter").wait_for()


def test_an_ended_session_loses_nothing_of_the_page(ada: BrowserContext, mock: str) -> None:
    page = opened(ada, "/launch/report")
    page.get_by_label("Year").fill("1984")
    ada.request.post(f"{mock}/mock/expire")
    dialog = page.get_by_role("dialog", name="Your session has ended")
    dialog.wait_for()
    dialog.get_by_label("Password", exact=True).fill("a password")
    dialog.get_by_role("button", name="Sign in").click()
    dialog.wait_for(state="hidden")
    expect(page.get_by_label("Year")).to_have_value("1984")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.wait_for_url(re.compile("/labs/"))


def test_a_launch_that_meets_an_ended_session_goes_on_after_it(ada: BrowserContext) -> None:
    page = opened(ada, "/datalabs/terminal")
    ada.clear_cookies()
    page.get_by_role("button", name="Launch", exact=True).click()
    dialog = page.get_by_role("dialog", name="Your session has ended")
    dialog.get_by_label("Password", exact=True).fill("a password")
    dialog.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile("/launching|mock-lab"))


def test_a_lost_connection_is_told_and_comes_back(ada: BrowserContext, mock: str) -> None:
    page = opened(ada, "/labs")
    ada.request.post(f"{mock}/mock/outage?seconds=4")
    page.get_by_text(re.compile(r"Reconnecting; what you see is from \d\d:\d\d:\d\d")).wait_for(timeout=8_000)
    page.get_by_text(re.compile("Reconnecting")).wait_for(state="hidden", timeout=15_000)
    ada.request.post(f"{mock}/mock/expiring")
    page.get_by_text("Length of day ends in 5 min").first.wait_for()


def followers(context: BrowserContext, mock: str) -> int:
    """How many event streams this platform has open."""
    return int(context.request.post(f"{mock}/mock/look").json()["followers"])


def test_ten_tabs_share_one_connection_and_all_stay_live(ada: BrowserContext, mock: str) -> None:
    pages = [opened(ada, "/labs") for _ in range(10)]
    assert followers(ada, mock) == 1
    stop = pages[3].get_by_role("article", name=re.compile("^Length of day: "))
    stop.get_by_role("button", name="Stop").click()
    for page in pages:
        page.get_by_role("article", name=re.compile("^Length of day: ")).wait_for(
            state="hidden", timeout=10_000
        )
    leader, *others = pages
    leader.close()
    others[0].wait_for_timeout(3_000)
    assert followers(ada, mock) == 1
    ada.request.post(f"{mock}/mock/restore")
    ada.request.post(f"{mock}/mock/reset")
    for page in others:
        page.get_by_role("article", name=re.compile("^Length of day: ")).wait_for(timeout=15_000)
    assert followers(ada, mock) == 1


def test_nothing_is_asked_for_while_nothing_happens(ada: BrowserContext) -> None:
    page = opened(ada, "/labs")
    page.wait_for_timeout(1_500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6_000)
    assert asked == []


def test_a_deletion_can_be_undone(ada: BrowserContext) -> None:
    page = opened(ada, "/labs")
    page.get_by_text(re.compile("ended labs")).click()
    row = page.get_by_role("link", name=re.compile("^Planets"))
    page.get_by_role("button", name="Delete Planets").click()
    row.wait_for(state="hidden")
    page.get_by_role("button", name="Undo").click()
    row.wait_for()
    page.get_by_role("button", name="Delete Planets").click()
    page.mouse.move(5, 5)
    page.get_by_role("button", name="Undo").wait_for(state="hidden", timeout=15_000)
    page.reload()
    page.get_by_text(re.compile("ended labs")).click()
    expect(page.get_by_role("link", name=re.compile("^Planets"))).to_have_count(0)


def test_the_palette_finds_by_keyboard_alone(ada: BrowserContext) -> None:
    page = opened(ada, "/data")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").wait_for()
    page.keyboard.type("gnss ear")
    page.get_by_role("option", name=re.compile("GNSS and Earth rotation")).first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/(labs|datalabs)/"))


def test_a_launch_needs_no_pointer(ada: BrowserContext) -> None:
    page = opened(ada, "/catalogue")
    page.keyboard.press("/")
    page.keyboard.type("terminal")
    page.wait_for_url(re.compile("q=terminal"))
    link = page.get_by_role("link", name="Terminal", exact=True).last
    for _ in range(60):
        page.keyboard.press("Tab")
        if link.evaluate("(element) => element === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/datalabs/terminal"))
    launch = page.get_by_role("button", name="Launch", exact=True)
    launch.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if launch.evaluate("(element) => element === document.activeElement"):
            break
    expect(launch).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("launching|mock-lab"))


def test_operators_pages_are_not_for_others(browser: Browser, mock: str, ada: BrowserContext) -> None:
    expect(opened(ada, "/operations/events").get_by_text("Only operators may look here.")).to_be_visible()
    context = browser.new_context(base_url=mock, **WIDE)
    sign_in(context, mock, "admin", "a password")
    page = opened(context, "/operations/dead-letters")
    page.get_by_text("accounting-ledger").click()
    page.get_by_role("button", name="Replay").click()
    page.get_by_text("Handed over again").wait_for()
    context.close()


def test_two_hundred_cards_on_a_telephone(browser: Browser, mock: str) -> None:
    context = browser.new_context(base_url=mock, **NARROW)
    sign_in(context, mock, "crowd", "a password")
    page = opened(context, "/catalogue")
    expect(page.get_by_text("206 datalabs")).to_be_visible()
    page.get_by_role("button", name="Narrow down").click()
    page.get_by_role("dialog").get_by_role("checkbox", name=re.compile("^Planetary science")).check()
    page.wait_for_url(re.compile("Planetary"))
    context.close()
