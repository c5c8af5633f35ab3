"""What the edge depends on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """All that the edge depends on.

    `port` is where browsers come in; `api_listener` is a second address, for labs in network namespaces of their own,
    which reaches the API and nothing else. `other_gateways` are replicas: one session always meets the same one. `lab_sampling` is a percentage of lab requests that are traced.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    scheme: str = "http"
    public_host: str = "localhost"
    public_url: str = "http://localhost:8080"
    labs_domain: str = "localhost"
    api_listener: tuple[str, int] | None = None
    gateway_socket: Path
    other_gateways: tuple[Path, ...] = ()
    observer_socket: Path
    admin_socket: Path
    route_jwks: Path
    edge_key: bytes
    lab_sampling: float = 1.0
