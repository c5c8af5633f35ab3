"""What every answer carries, and how a refusal reaches somebody who is still sending."""

import asyncio
from collections.abc import Mapping

from starlette.types import Message, Receive, Scope, Send

from datalabs_gateway.refusals import SCOPE_TRACE

Header = tuple[bytes, bytes]

COMMON_HEADERS: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
]
API_POLICY: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
STRICT_TRANSPORT: Header = (b"strict-transport-security", b"max-age=31536000")
SMALL_LEFTOVER = 64 * 1024
"""Bytes of an unread body that the connection swallows by itself."""
LINGER_BYTES = 32 * 1024 * 1024
LINGER_SECONDS = 5.0
LINGER_SILENCE = 0.5
"""Seconds without a byte after which nobody is sending any more."""
REFUSED = 400


class Answers:
    """Finishes answers on their way out."""

    def __init__(self, *, is_https: bool) -> None:
        self.headers = [*COMMON_HEADERS, STRICT_TRANSPORT] if is_https else COMMON_HEADERS

    def wrap(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: Mapping[bytes, bytes],
        *,
        status: list[int] | None = None,
    ) -> Send:
        """Return a `send` that adds the headers of every answer and notes the status in `status[0]`.

        A refusal of a large body goes out at once, but its end waits while a bounded rest of the body is thrown
        away: the edge resets the connection of a client that still sends when the answer is complete, and the client
        would see that reset instead of the reason (nginx calls the same a lingering close).
        """
        length = headers.get(b"content-length", b"0")
        unread = b"transfer-encoding" in headers or (length.isdigit() and int(length) > SMALL_LEFTOVER)
        lingers = False

        async def finishing(message: Message) -> None:
            nonlocal lingers
            if message["type"] == "http.response.start":
                lingers = unread and message["status"] >= REFUSED
                message = {**message, "headers": self._completed(scope, message["headers"], lingers)}
                if status is not None:
                    status[0] = message["status"]
            elif lingers and not message.get("more_body"):
                lingers = False
                await throw_away(receive)
            await send(message)

        return finishing

    def _completed(self, scope: Scope, given: list[Header], closes: bool) -> list[Header]:  # noqa: FBT001
        names = {name for name, _ in given}
        headers = [*given, *self.headers]
        if b"content-security-policy" not in names:
            headers.append(API_POLICY)
        if b"cache-control" not in names:
            headers.append((b"cache-control", b"no-store"))
        trace_id = scope.get(SCOPE_TRACE)
        if trace_id:
            headers.append((b"x-trace-id", trace_id.encode()))
        if closes:
            headers.append((b"connection", b"close"))
        return headers


async def throw_away(receive: Receive) -> None:
    """Take the rest of a body and forget it, up to a bound of bytes and time."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                async with asyncio.timeout(LINGER_SILENCE):
                    message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                left -= len(message["body"])
    except TimeoutError:
        return
