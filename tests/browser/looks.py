"""Pictures of every page of the dashboard with what axe-core finds on it, light and dark, narrow and wide.

    python -m tests.browser.looks build/looks [only-this-page …]

Runs against the platform of fixtures: every state of every page at once, without waiting for it to happen.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.driver import NARROW, WIDE, chromium, findings, settled, sideways, sign_in
from tests.browser.mocked import mocked

VIEWS = {"wide": WIDE, "narrow": NARROW}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PAGES: dict[str, tuple[str, str]] = {
    "catalogue": ("ada", "/catalogue"),
    "catalogue-crowd": ("crowd", "/catalogue?kind=%5B%22desktop%22%5D"),
    "catalogue-search": ("ada", "/catalogue?q=rotation"),
    "catalogue-nothing": ("ada", "/catalogue?q=jupiter"),
    "datalab": ("ada", "/datalabs/jupyterlab"),
    "launch-link": ("ada", "/launch/report?size=large"),
    "launch-never": ("ada", "/launch/jupyterlab?size=huge"),
    "launching": ("ada", "/labs/p2hd8rky6v/launching"),
    "launching-queued": ("ada", "/labs/c5nf3gjx9e/launching"),
    "launching-failed": ("ada", "/labs/w8ye2sqt4h/launching"),
    "labs": ("ada", "/labs"),
    "labs-fresh": ("fresh", "/labs"),
    "lab": ("ada", "/labs/k3v9x2mnpq"),
    "lab-failed": ("ada", "/labs/w8ye2sqt4h"),
    "lab-foreign": ("ada", "/labs/zzzzzzzzzz"),
    "data": ("ada", "/data"),
    "collection": ("ada", "/data/iers"),
    "usage": ("ada", "/usage"),
    "usage-fresh": ("fresh", "/usage"),
    "forbidden": ("ada", "/operations"),
    "nowhere": ("ada", "/nowhere"),
    "operations": ("admin", "/operations"),
    "events": ("admin", "/operations/events"),
    "traces": ("admin", "/operations/traces"),
    "trace": ("admin", f"/operations/traces/{TRACE}?span=b900000000000000"),
    "dead-letters": ("admin", "/operations/dead-letters"),
    "sign-in": ("", "/sign-in"),
}
EXPECTED = ("404", "403", "401")
"""Refusals that some of these pages are about; Chromium's console tells them as errors."""


def looks(browser: Browser, base: str, target: Path | None, only: set[str]) -> Iterator[str]:
    """Look at the pages, keep pictures of them in `target`, yield one line for each finding."""
    for scheme in ("light", "dark"):
        for view, options in VIEWS.items():
            for user in sorted({user for name, (user, _) in PAGES.items() if not only or name in only}):
                context = browser.new_context(
                    base_url=base, color_scheme="dark" if scheme == "dark" else "light", **options
                )
                if user:
                    sign_in(context, base, user, "a password")
                for name, (whose, path) in PAGES.items():
                    if whose != user or (only and name not in only):
                        continue
                    page, errors = settled(context, path)
                    if target:
                        page.screenshot(path=target / f"{name}-{view}-{scheme}.png", full_page=True)
                    found = [
                        *findings(page),
                        *(f"scrolls sideways by {element}" for element in sideways(page)),
                        *(error for error in errors if not any(code in error for code in EXPECTED)),
                    ]
                    yield from (f"{name} {view} {scheme}: {text}" for text in found)
                    page.close()
                context.close()


def main() -> int:
    target, only = Path(sys.argv[1]), set(sys.argv[2:])
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    with mocked() as base, chromium() as browser:
        for line in looks(browser, base, target, only):
            count += 1
            print(line, flush=True)
    print(f"{count} findings")
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
