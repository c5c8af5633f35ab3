"""What a reader sees when Envoy itself has to answer: plain pages that say what happened and what to do."""

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{refresh}<title>{title}</title><style>:root{{color-scheme:light dark}}body{{font:1rem/1.6 system-ui,sans-serif;
max-width:34rem;margin:16vh auto;padding:0 1.5rem}}h1{{font-size:1.35rem;line-height:1.3}}a{{color:inherit}}
small{{opacity:.7}}</style></head><body><main><h1>{title}</h1><p>{text}</p>{link}<p><small>{code}</small></p></main>
</body></html>"""

_REFRESH = '<meta http-equiv="refresh" content="3">'


def page(*, title: str, text: str, code: str, link: str = "", again: bool = False) -> str:
    """Return an HTML page; `again` makes the browser ask once more after three seconds.

    Envoy reads a percent sign in a local reply as the start of a command, so the page must hold none.
    """
    anchor = f'<p><a href="{link}">My Datalabs</a></p>' if link else ""
    html = _PAGE.format(title=title, text=text, code=code, link=anchor, refresh=_REFRESH if again else "")
    return html.replace("%", "%%")


def problem(*, status: int, code: str, title: str) -> dict[str, object]:
    """Return a problem document as Envoy's `json_format`."""
    return {
        "type": f"https://open-datalabs.org/problems/{code}",
        "title": title,
        "status": status,
        "code": code,
    }
