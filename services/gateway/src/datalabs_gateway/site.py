"""Where this site is, as addresses in answers need it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from datalabs_contracts.ids import ALPHABET, LAB_ID_LENGTH

_LETTERS = frozenset(ALPHABET)


@dataclass(frozen=True, kw_only=True)
class SiteFacts:
    """A site's name and addresses."""

    name: str
    version: str
    public_url: str
    labs_domain: str
    labs_scheme: str
    labs_port: int

    @property
    def public_host(self) -> str:
        """The platform's host name without a port."""
        return urlsplit(self.public_url).hostname or ""

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the platform over TLS."""
        return self.public_url.startswith("https:")

    def lab_of_host(self, host: str) -> str | None:
        """Return the lab whose origin this Host header names, whatever its port."""
        name = host_name(host)
        label, dot, domain = name.partition(".")
        if not dot or domain != self.labs_domain or len(label) != LAB_ID_LENGTH:
            return None
        return label if _LETTERS.issuperset(label) else None

    def lab_host(self, lab_id: str) -> str:
        """Return the host name of a lab's origin, without a port."""
        return f"{lab_id}.{self.labs_domain}"

    def lab_origin(self, lab_id: str, host: str = "") -> str:
        """Return a lab's origin for somebody who sees the platform under this Host header.

        A port forward (ssh -L) changes the port that a browser must use, so it is taken from the request where the
        platform and its labs share one listener.
        """
        default = {"http": 80, "https": 443}[self.labs_scheme]
        port = self.labs_port
        if host_name(host) == self.public_host and self._shares_listener():
            port = _port_of(host) or default
        suffix = "" if port == default else f":{port}"
        return f"{self.labs_scheme}://{self.lab_host(lab_id)}{suffix}"

    def seen_as(self, host: str) -> str:
        """Return the platform's address for somebody on a host (platform's or lab's) with this port."""
        parts = urlsplit(self.public_url)
        if not self._shares_listener():
            return self.public_url
        port = _port_of(host)
        return f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port else "")

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether a request's Origin header names the platform itself, as the request's Host header shows it."""
        if origin == self.public_url:
            return True
        scheme, _, authority = origin.lower().partition("://")
        return (
            scheme in {"http", "https"}
            and authority == host.lower()
            and host_name(authority) == self.public_host
        )

    def _shares_listener(self) -> bool:
        parts = urlsplit(self.public_url)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        return (parts.port or default) == self.labs_port and parts.scheme == self.labs_scheme


def host_name(host: str) -> str:
    """Return a Host header's name without its port, in lower case."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _port_of(host: str) -> int | None:
    digits = host.rpartition("]")[2].partition(":")[2]
    return int(digits) if digits.isdecimal() and len(digits) <= 5 else None  # noqa: PLR2004 - up to 65535
