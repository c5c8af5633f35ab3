"""The cookies of the platform and of labs' origins; all host-only, all out of scripts' reach."""

from collections.abc import Iterable

from datalabs_gateway.callers import Scope

SESSION = "__Host-datalabs-session"
LAB_SESSION = "__Host-lab-session"
LAB_TOKEN = "__Host-lab"  # noqa: S105 - a cookie's name

_RULES = "Path=/; Secure; HttpOnly; SameSite=Lax"
"""Lax, not Strict: a Strict cookie set on the entry's redirect would not be sent with the page that follows."""


def set_cookie(name: str, value: str, *, seconds: float | None = None) -> str:
    """Return a Set-Cookie header; without `seconds` the cookie lives as long as the browser's session."""
    age = "" if seconds is None else f"; Max-Age={int(seconds)}"
    return f"{name}={value}; {_RULES}{age}"


def clear_cookie(name: str) -> str:
    """Return the Set-Cookie header that removes a cookie."""
    return set_cookie(name, "", seconds=0)


def cookie_in(scope: Scope, name: str) -> str | None:
    """Return the value of a cookie of a request, None when it has none."""
    return find_cookie((value for key, value in scope["headers"] if key == b"cookie"), name)


def find_cookie(headers: Iterable[bytes], name: str) -> str | None:
    """Return the first cookie of this name; HTTP/2 may have split the Cookie header."""
    wanted = name.encode() + b"="
    for header in headers:
        if wanted not in header:
            continue
        for part in header.split(b";"):
            pair = part.strip()
            if pair.startswith(wanted):
                return pair[len(wanted) :].decode("latin-1")
    return None
