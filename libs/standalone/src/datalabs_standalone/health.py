"""Asks the part behind a Unix socket whether it is alive; for containers' health checks, so standard library only.

`python -m datalabs_standalone.health SOCKET` ends with 0 when it is. Envoy has words of its own for that.
"""

import http.client
import socket
import sys

SECONDS = 4.0


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def alive(path: str) -> bool:
    """Return whether the part answers, and says that all is well."""
    connection = _Connection(path)
    try:
        connection.request("GET", "/ready" if path.endswith("envoy-admin.sock") else "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if len(sys.argv) == 2 and alive(sys.argv[1]) else 1)  # noqa: PLR2004 - the program and one word
