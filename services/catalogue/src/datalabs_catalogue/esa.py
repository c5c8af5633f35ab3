"""ESA Datalabs' manner of writing `datalab-meta.yml`, brought into the one form that the contracts know.

Seen in the wild: `contactPoint.email: …` as one dotted key, `None` for nothing, keywords as one comma-separated
text, addresses of vocabularies (or of anything) as the domain, no creator at all.
"""

import re
from typing import Any

NOTHING = {"", "none", "null", "n/a", "no description yet"}
NESTED = ("contactPoint", "creator", "distribution", "doi")
DOMAINS = {
    "domainSCI": "Space science",
    "domainEO": "Earth observation",
    "domainNAV": "Navigation",
    "domainHRE": "Human and robotic exploration",
}
"""The last part of https://data.esa.int/esado/…, for readers."""


def normalised(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the file's content with dotted keys nested, empty values gone, and what was one text as a list."""
    ours = raw.get("x-datalabs")
    content: dict[str, Any] = {}
    for key, value in raw.items():
        if key == "x-datalabs" or _is_nothing(value):
            continue
        outer, dot, inner = str(key).partition(".")
        if dot and outer in NESTED:
            nested = content.setdefault(outer, {})
            if isinstance(nested, dict):
                nested.setdefault(inner, value)
        elif outer in NESTED and isinstance(value, dict):
            held = content.get(outer)
            filled = {name: item for name, item in value.items() if not _is_nothing(item)}
            content[outer] = {**filled, **held} if isinstance(held, dict) else filled
        else:
            content[outer if not dot else str(key)] = value
    content["keywords"] = _listed(content.get("keywords"))
    if "domain" in content:
        content["domain"] = domain_of(str(content["domain"]))
    content.setdefault("creator", {})
    if isinstance(content["creator"], dict):
        content["creator"].setdefault("name", _author(content))
    if ours is not None:
        content["x-datalabs"] = ours
    return content


def domain_of(text: str) -> str:
    """Return a domain that reads as a facet; an address of something else is none."""
    name = text.strip().rstrip("/").rpartition("/")[2]
    if name in DOMAINS:
        return DOMAINS[name]
    return "" if re.search(r"://|^www\.", text.strip()) else text.strip()


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in NOTHING)


def _listed(value: Any) -> list[str]:
    items = value if isinstance(value, list) else str(value or "").split(",")
    words = [str(item).strip() for item in items if not _is_nothing(item)]
    return list(dict.fromkeys(word for word in words if word))


def _author(content: dict[str, Any]) -> str:
    contact = content.get("contactPoint")
    if isinstance(contact, dict):
        return str(contact.get("organisation-name") or contact.get("email") or "")
    return ""
