"""Stub."""


class Sessions:
    """Stub."""


def session_cookie(secret: str) -> str:
    return secret


def cleared_cookie() -> str:
    return ""
