"""Pictures of every page of the dashboard with what axe-core finds on it, light and dark, narrow and wide.

Run against the platform of fixtures (`npm run build && npx vite preview --mode mock`) or a real one:

    python dashboard/tests/looks.py http://localhost:4173 build/looks [only-this-page …]
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = Path(__file__).parent.parent / "node_modules/axe-core/axe.min.js"
VIEWS: dict[str, dict[str, Any]] = {
    "wide": {"viewport": {"width": 1440, "height": 900}},
    "narrow": {"viewport": {"width": 360, "height": 760}, "has_touch": True, "is_mobile": True},
}
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
}


def findings(page: Page) -> list[str]:
    """Return what axe-core finds on a page, one line for each rule."""
    page.add_script_tag(path=str(AXE)) if not page.evaluate("() => 'axe' in window") else None
    result = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{found['id']} ({found['impact']}): {len(found['nodes'])}× {found['nodes'][0]['target']} "
        f"{found['nodes'][0]['html'][:160]} | {found['nodes'][0]['failureSummary'][:220]}"
        for found in result
    ]


def sideways(page: Page) -> list[str]:
    """Return what makes the page itself scroll sideways."""
    found: list[str] = page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth
          if (document.documentElement.scrollWidth <= width + 1) return []
          return [...document.body.querySelectorAll('*')]
            .filter((element) => element.getBoundingClientRect().right > width + 1 && element.children.length === 0)
            .map((element) => element.outerHTML.slice(0, 120))
            .slice(0, 3)
        }"""
    )
    return found


def sign_in(context: BrowserContext, base: str, username: str, password: str) -> None:
    """Sign this browser in through the interface."""
    answer = context.request.post(
        f"{base}/api/v1/session",
        data=json.dumps({"username": username, "password": password}),
        headers={"content-type": "application/json", "origin": base},
    )
    if not answer.ok:
        raise RuntimeError(f"sign-in of {username} answered {answer.status}: {answer.text()}")


def settled(context: BrowserContext, path: str) -> tuple[Page, list[str]]:
    """Open a page until it came whole; return it with the errors that its console told.

    Chromium breaks its connections whenever a network interface comes or goes on this machine.
    """
    for _ in range(12):
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error, into=errors: into.append(str(error)))
        page.on("console", lambda m, into=errors: into.append(m.text) if m.type == "error" else None)
        try:
            page.goto(path)
            page.wait_for_selector("h1, h2")
        except Error as error:
            errors.append(str(error))
        time.sleep(1.2)
        if not any("NETWORK_CHANGED" in text or "interrupted" in text for text in errors):
            return page, errors
        page.close()
    raise RuntimeError(f"{path} never came whole")


def shots(browser: Browser, base: str, target: Path, only: set[str]) -> Iterator[str]:
    """Take the pictures; yield one line for each finding."""
    for scheme in ("light", "dark"):
        for view, options in VIEWS.items():
            users = sorted({user for name, (user, _) in PAGES.items() if not only or name in only})
            for user in [*users, None]:
                context = browser.new_context(base_url=base, color_scheme=scheme, locale="en-GB", **options)
                if user:
                    sign_in(context, base, user, "a password")
                pages = {n: p for n, (u, p) in PAGES.items() if u == user} if user else {"sign-in": "/sign-in"}
                for name, path in pages.items():
                    if only and name not in only:
                        continue
                    page, errors = settled(context, path)
                    page.screenshot(path=target / f"{name}-{view}-{scheme}.png", full_page=True)
                    for finding in findings(page):
                        yield f"{name} {view} {scheme}: {finding}"
                    for element in sideways(page):
                        yield f"{name} {view} {scheme}: scrolls sideways by {element}"
                    for error in errors:
                        if "404" not in error and "403" not in error:
                            yield f"{name} {view} {scheme}: {error}"
                    page.close()
                context.close()


def main() -> int:
    base, target, only = sys.argv[1].rstrip("/"), Path(sys.argv[2]), set(sys.argv[3:])
    target.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        found = 0
        for line in shots(browser, base, target, only):
            found += 1
            print(line, flush=True)
        browser.close()
    print(f"{found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
