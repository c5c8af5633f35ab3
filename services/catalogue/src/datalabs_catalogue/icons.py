"""Icons: SVG from strangers, cut down to what draws, and one for entries that have none."""

import hashlib
import html
import re
from xml.etree import ElementTree as ET

from datalabs_catalogue.errors import BrokenIconError
from datalabs_contracts.datalabs import Kind

LARGEST = 64 * 1024
"""Bytes of an icon."""
DEEPEST = 64
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
ELEMENTS = frozenset(
    [
        "svg",
        "g",
        "defs",
        "symbol",
        "use",
        "title",
        "desc",
        "path",
        "rect",
        "circle",
        "ellipse",
        "line",
        "polyline",
        "polygon",
        "text",
        "tspan",
        "linearGradient",
        "radialGradient",
        "stop",
        "clipPath",
        "mask",
        "pattern",
        "marker",
        "filter",
        "feGaussianBlur",
        "feOffset",
        "feBlend",
        "feMerge",
        "feMergeNode",
        "feFlood",
        "feComposite",
        "feColorMatrix",
        "feDropShadow",
    ]
)
"""What may be drawn: no script, no style sheet, no foreignObject, no image, no animation, no link."""
FORBIDDEN_VALUE = re.compile(r"(?i)(javascript|vbscript|data|file|https?):|@import|expression\s*\(|//")
LOCAL_URL = re.compile(r"""url\(\s*['"]?#[\w.:-]+['"]?\s*\)""")
COLOURS = {Kind.NOTEBOOK: "#1864ab", Kind.WEB: "#2b8a3e", Kind.DESKTOP: "#862e9c", Kind.BATCH: "#a61e4d"}


def sanitised(content: bytes) -> str:
    """Return an SVG that only draws: known elements and attributes, references inside itself.

    Raises `BrokenIconError` when it is too large, no SVG, or declares a document type (entities can explode).
    """
    if len(content) > LARGEST:
        raise BrokenIconError(f"larger than {LARGEST // 1024} KiB")
    if re.search(rb"<!\s*(doctype|entity)", content, re.IGNORECASE) or b"\0" in content:
        content = _without_plain_doctype(content)
    try:
        root = ET.fromstring(content)  # noqa: S314 - no document type, so no entities
    except (ET.ParseError, ValueError, LookupError) as error:
        raise BrokenIconError(f"not well-formed: {error}") from error
    if root.tag != f"{{{SVG}}}svg":
        raise BrokenIconError("not an SVG")
    _clean(root, 0)
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    text = ET.tostring(root, encoding="unicode")
    if len(text.encode()) > LARGEST:
        raise BrokenIconError(f"larger than {LARGEST // 1024} KiB")
    return text


def _without_plain_doctype(content: bytes) -> bytes:
    """Drop the document type that old drawing programs write, which declares nothing of its own."""
    plain = re.sub(
        rb"<!DOCTYPE\s+svg\s+PUBLIC\s+\"[^\"<>\[\]]*\"\s+\"[^\"<>\[\]]*\"\s*>", b"", content, count=1
    )
    if re.search(rb"<!\s*(doctype|entity)", plain, re.IGNORECASE) or b"\0" in plain:
        raise BrokenIconError("it declares a document type or entities")
    return plain


def _clean(element: "ET.Element[str]", depth: int) -> None:
    if depth > DEEPEST:
        raise BrokenIconError("nested too deeply")
    for name, value in list(element.attrib.items()):
        if not _is_harmless(name, value):
            del element.attrib[name]
    for child in list(element):
        space, _, name = child.tag.rpartition("}") if isinstance(child.tag, str) else ("", "", "")
        if space != f"{{{SVG}" or name not in ELEMENTS:
            element.remove(child)
        else:
            _clean(child, depth + 1)


def _is_harmless(name: str, value: str) -> bool:
    space, _, local = name.rpartition("}")
    if local.lower().startswith("on"):
        return False
    if local == "href":
        return space in {"", f"{{{XLINK}"} and value.strip().startswith("#")
    if space:
        return False
    rest = LOCAL_URL.sub("", value)
    return "url(" not in rest.lower() and "\\" not in rest and FORBIDDEN_VALUE.search(rest) is None


def drawn(title: str, kind: Kind) -> str:
    """Return an icon for an entry without one: its initials on its kind's colour."""
    initials = "".join(word[0] for word in re.findall(r"\w+", title)[:2]).upper() or "?"
    return (
        f'<svg xmlns="{SVG}" viewBox="0 0 64 64" role="img"><rect width="64" height="64" rx="12" '
        f'fill="{COLOURS[kind]}"/><text x="32" y="42" font-family="system-ui, sans-serif" font-size="28" '
        f'font-weight="600" fill="#fff" text-anchor="middle">{html.escape(initials)}</text></svg>'
    )


def digest_of(svg: str) -> str:
    """Return the SHA-256 of an icon in hexadecimal."""
    return hashlib.sha256(svg.encode()).hexdigest()
