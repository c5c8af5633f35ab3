"""What `datalabs up` is asked for, and what of it is remembered in the settings file."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from datalabs_standalone.failures import SettingsError

_SCHEDULERS = ("auto", "local", "nomad")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """The flags of `up`; None where nothing was said."""

    port: int | None = None
    host: str | None = None
    public_url: str | None = None
    labs_domain: str | None = None
    scheduler: str | None = None
    insecure_process_labs: bool | None = None

    def check(self) -> None:
        """Refuse what cannot be."""
        if self.scheduler is not None and self.scheduler not in _SCHEDULERS:
            raise SettingsError(f"--scheduler is one of {', '.join(_SCHEDULERS)}, not {self.scheduler!r}.")
        if self.public_url is not None:
            parts = urlsplit(self.public_url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
                raise SettingsError(
                    f"--public-url is like https://datalabs.example.org, not {self.public_url!r}."
                )


def domain_notice(public_url: str, labs_domain: str) -> str | None:
    """Return a warning when the labs' domain shares the platform's registrable domain: cookies would flow.

    Without the list of public suffixes the last two labels stand for the registrable domain.
    """
    platform = (urlsplit(public_url).hostname or "").lower()
    labs = labs_domain.lower()
    if labs == "localhost":
        if platform in {"localhost", LOOPBACK, "::1"}:
            return None
        return (
            f"labs answer at <lab>.localhost, which only browsers on this machine reach; {platform} is for others too: "
            "name a domain of your own with --labs-domain."
        )
    if platform.split(".")[-2:] == labs.split(".")[-2:]:
        return (
            f"the labs' domain {labs} and the platform's {platform} are one site, so labs and the platform share "
            "same-site cookies; choose another registrable domain with --labs-domain."
        )
    return None
