"""Talking to one origin as a browser would: its cookies stay with it, and `*.localhost` is this machine."""

import functools
import ssl
from http.cookies import CookieError, SimpleCookie

import httpx2


def is_local(host: str) -> bool:
    """Tell whether a host name means this machine (RFC 6761: everything under `localhost` does)."""
    return host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost")


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return whom TLS connections trust; made once, for reading all certificates takes 20 to 40 ms."""
    return ssl.create_default_context()


class OriginTransport(httpx2.AsyncBaseTransport):
    """Keeps the cookies of one origin.

    Python's cookie jar sends no `Secure` cookie over plain HTTP, not even to localhost, where browsers do; and the
    resolver does not know `<lab>.localhost`, so such names are connected to loopback with their own `Host`.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx2.AsyncHTTPTransport(
            verify=_trust(), limits=httpx2.Limits(max_connections=None)
        )
        self.cookies: dict[str, str] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send with the origin's cookies and keep those of the answer."""
        if self.cookies:
            request.headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = request
        if request.url.host.endswith(".localhost"):
            sent = httpx2.Request(
                request.method,
                request.url.copy_with(host="127.0.0.1"),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        response = await self._inner.handle_async_request(sent)
        for line in response.headers.get_list("set-cookie"):
            self._take(line)
        return response

    def _take(self, line: str) -> None:
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(line)
        except CookieError:
            return
        for name, morsel in jar.items():
            if morsel["max-age"] == "0" or not morsel.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value

    async def aclose(self) -> None:
        """Close connections."""
        await self._inner.aclose()
