"""The few pages that the gateway writes itself: plain, readable without scripts, light and dark."""

from html import escape

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{refresh}<title>{title}</title><style>
:root{{color-scheme:light dark}}
body{{font:1rem/1.6 system-ui,sans-serif;max-width:34rem;margin:16vh auto;padding:0 1.5rem}}
h1{{font-size:1.35rem;line-height:1.3}}
a.button{{display:inline-block;padding:.5rem 1rem;border:1px solid;border-radius:.4rem;text-decoration:none;color:inherit}}
small{{opacity:.7}}
</style></head><body><main><h1>{title}</h1><p>{text}</p>{link}<p><small>{code}</small></p></main></body></html>
"""

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "cache-control": "no-store",
}


def page(
    *,
    title: str,
    text: str,
    code: str = "",
    link: tuple[str, str] | None = None,
    again_after: int | None = None,
) -> bytes:
    """Return an HTML page; `link` is its one action (address, words), `again_after` reloads it after seconds."""
    action = f'<p><a class="button" href="{escape(link[0])}">{escape(link[1])}</a></p>' if link else ""
    refresh = f'<meta http-equiv="refresh" content="{again_after}">\n' if again_after else ""
    return _PAGE.format(
        title=escape(title), text=escape(text), link=action, refresh=refresh, code=escape(code)
    ).encode()
