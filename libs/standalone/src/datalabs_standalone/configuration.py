"""What this machine's platform is configured as: written at the first start, read at each, changed by flags.

The supervisor reads the few values that it needs itself; the services read all of theirs through the runtime.
"""

import errno
import hashlib
import ipaddress
import itertools
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datalabs_contracts.rpc import SERVICES, STANDALONE
from datalabs_standalone import settings_file
from datalabs_standalone.credentials import SUBSCRIBER, accounts_file, new_password
from datalabs_standalone.failures import PortTakenError, SettingsError
from datalabs_standalone.options import LOOPBACK, UpOptions
from datalabs_standalone.state import StateFolder, write_private, writing

FIRST_PORT = 8080
TOPOLOGY = "topology"
SUPERUSER = "postgres"
"""The name under which the database superuser's password stands among the services' own."""
_NATS_PORTS = range(12_222, 16_222)
"""Below the kernel's ephemeral range and the labs' ring. Where a folder begins to look depends on its path, so that
platforms of one machine that start at the same moment do not meet.
"""
_POSTGRES_PORT = 5432
_ONLY_LAUNCHER_LEASE = 30.0
"""Seconds. No other launcher waits for it on one machine, and one that died there is seen to be dead."""
HUNG_SECONDS = 20.0
"""So long a service may be silent before it is killed, unless the settings say otherwise."""
_LABS_NETWORK = ipaddress.IPv4Network("198.18.0.0/15")
"""Where labs' own networks lie: the range for benchmarks of network devices (RFC 2544), which no site routes."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The values that starting the parts needs."""

    host: str
    port: int
    public_url: str
    labs_domain: str
    labs_address: str
    edge_workers: int
    hung_seconds: float
    nats_port: int
    nats_passwords: Mapping[str, str]
    postgres_folder: Path
    postgres_port: int
    postgres_passwords: Mapping[str, str]
    postgres_superuser_password: str


def configure(state: StateFolder, options: UpOptions, *, one_machine: bool = True) -> Configuration:
    """Write the settings file or change it by the flags, and return what holds now.

    `one_machine`: there is one launcher, and all parts see one another's processes.

    Raises `SettingsError`.
    """
    file = state.settings_file
    with writing(state.root):
        if not file.exists():
            write_private(file, _first_settings(state, options, one_machine=one_machine))
        else:
            _follow_moves(state)
            _apply(file, options)
    return _read(state)


def _follow_moves(state: StateFolder) -> None:
    """Correct the paths in the file when the state folder or the repository was moved since."""
    file = state.settings_file
    text = before = file.read_text(encoding="utf-8")
    platform = settings_file.read(file).get("platform", {})
    old = str(platform.get("state_folder", state.root))
    if old != str(state.root):
        for mark in ('"', '"unix:'):
            text = text.replace(f"{mark}{old}/", f"{mark}{state.root}/")
        text = text.replace(f'"{old}"', f'"{state.root}"')
    content = [Path(one) for one in platform.get("content", [])]
    if content and not any(one.is_dir() for one in content) and content_folders():
        text = settings_file.with_value(text, "platform", "content", content_folders())
    if text != before:
        write_private(file, text)


def _first_settings(state: StateFolder, options: UpOptions, *, one_machine: bool) -> str:
    from datalabs_standalone.described import settings_classes  # noqa: PLC0415 - slow to import; first start only

    port = options.port or FIRST_PORT
    public_url, scheme, labs_port = _addresses(port, options.public_url)
    users = (*SERVICES, STANDALONE, TOPOLOGY, SUBSCRIBER)
    launcher: dict[str, object] = {"scheduler": options.scheduler or "auto"}
    if one_machine:
        launcher["lease"] = _ONLY_LAUNCHER_LEASE
    if options.insecure_process_labs is not None:
        launcher["insecure_process_labs"] = options.insecure_process_labs
    platform: dict[str, object] = {
        "state_folder": state.root,
        "public_url": public_url,
        "labs_domain": options.labs_domain or "localhost",
        "labs_scheme": scheme,
        "labs_port": labs_port,
        "content": content_folders(),
    }
    values: dict[str, dict[str, object]] = {
        "platform": platform,
        "standalone": {"host": options.host or LOOPBACK, "port": port},
        "nats": {"servers": [f"nats://{LOOPBACK}:{free_nats_port(state)}"]},
        "nats.passwords": {user: new_password() for user in users},
        "postgres": {"host": state.run, "port": _POSTGRES_PORT},
        "postgres.passwords": {user: secrets.token_hex(16) for user in (*SERVICES, SUPERUSER)},
        "telemetry": {"endpoint": f"unix:{state.run / 'observer.sock'}"},
        "auth": {"seed_file": accounts_file(state)},
        "launcher": launcher,
    }
    return settings_file.compose(values, settings_classes())


def _addresses(port: int, public_url: str | None) -> tuple[str, str, int]:
    """Return the public address, and the scheme and port of the labs' addresses."""
    if public_url is None:
        return f"http://localhost:{port}", "http", port
    parts = urlsplit(public_url.rstrip("/"))
    standard = 443 if parts.scheme == "https" else 80
    return public_url.rstrip("/"), parts.scheme, parts.port or standard


def _apply(file: Path, options: UpOptions) -> None:
    """Change what the flags name and what follows from it; leave every other line alone."""
    text = before = file.read_text(encoding="utf-8")
    content = settings_file.read(file)
    changes: list[tuple[str, str, object]] = []
    if options.host is not None:
        changes.append(("standalone", "host", options.host))
    if options.labs_domain is not None:
        changes.append(("platform", "labs_domain", options.labs_domain))
    if options.scheduler is not None:
        changes.append(("launcher", "scheduler", options.scheduler))
    if options.insecure_process_labs is not None:
        changes.append(("launcher", "insecure_process_labs", options.insecure_process_labs))
    old_port = content.get("standalone", {}).get("port", FIRST_PORT)
    own_address = content.get("platform", {}).get("public_url") != f"http://localhost:{old_port}"
    port = options.port or old_port
    if options.public_url is not None or (port != old_port and not own_address):
        public_url, scheme, labs_port = _addresses(port, options.public_url)
        changes += [
            ("platform", "public_url", public_url),
            ("platform", "labs_scheme", scheme),
            ("platform", "labs_port", labs_port),
        ]
    if port != old_port:
        changes.append(("standalone", "port", port))
    for section, name, value in changes:
        text = settings_file.with_value(text, section, name, value)
    if text != before:
        write_private(file, text)


def _read(state: StateFolder) -> Configuration:
    content = settings_file.read(state.settings_file)
    try:
        servers = _value(content, "nats", "servers", [])
        passwords = content["nats"]["passwords"]
        databases = content["postgres"]["passwords"]
        return Configuration(
            host=str(_value(content, "standalone", "host", LOOPBACK)),
            port=int(_value(content, "standalone", "port", FIRST_PORT)),
            public_url=str(_value(content, "platform", "public_url", f"http://localhost:{FIRST_PORT}")),
            labs_domain=str(_value(content, "platform", "labs_domain", "localhost")),
            labs_address=str(_value(content, "standalone", "labs_address", "")),
            edge_workers=int(_value(content, "standalone", "edge_workers", 0)) or max(1, _cores() // 2),
            hung_seconds=float(_value(content, "standalone", "hung_seconds", HUNG_SECONDS)),
            nats_port=int(_value(content, "standalone", "nats_port", 0))
            or int(urlsplit(servers[0]).port or _NATS_PORTS[0]),
            nats_passwords={str(user): str(word) for user, word in passwords.items()},
            postgres_folder=Path(content["postgres"]["host"]),
            postgres_port=int(content["postgres"].get("port", _POSTGRES_PORT)),
            postgres_passwords={service: str(databases[service]) for service in SERVICES},
            postgres_superuser_password=str(databases[SUPERUSER]),
        )
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise SettingsError(f"{state.settings_file} lacks or garbles a value: {error}.") from error


def _value(content: Mapping[str, Any], section: str, name: str, default: Any) -> Any:
    """Return a value as the runtime would: the environment over the file."""
    return os.environ.get(f"DATALABS_{section}_{name}".upper()) or content.get(section, {}).get(name, default)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def content_folders() -> list[Path]:
    """Return the catalogue's own content: of the repository, or shipped inside the package."""
    package = Path(__file__).resolve().parent
    candidates = (package.parents[3] / "content", package / "content")
    return [folder for folder in candidates if folder.is_dir()]


def listening(host: str, port: int) -> bool:
    """Tell whether an address is taken by somebody."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError as error:
            raise PortTakenError(
                f"port {port} may not be opened by you ({error.strerror}). Choose one above 1023 with --port."
            ) from error
        except OSError as error:
            if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT} or isinstance(error, socket.gaierror):
                raise SettingsError(f"{host} is not an address of this machine; see --host.") from error
            return True
    return False


def check_port(configuration: Configuration) -> None:
    """Refuse to start where somebody else listens."""
    if listening(configuration.host, configuration.port):
        raise PortTakenError(
            f"port {configuration.port} of {configuration.host} is in use by another program. "
            "Choose another with --port."
        )


def free_nats_port(state: StateFolder) -> int:
    """Return a port of the loopback address for NATS that nobody has."""
    digest = hashlib.sha256(os.fsencode(state.root)).digest()
    first = int.from_bytes(digest[:4], "big") % len(_NATS_PORTS)
    for port in itertools.chain(_NATS_PORTS[first:], _NATS_PORTS[:first]):
        if not listening(LOOPBACK, port):
            return port
    raise PortTakenError(f"all ports from {_NATS_PORTS[0]} to {_NATS_PORTS[-1]} are in use.")


def with_free_nats_port(state: StateFolder, configuration: Configuration) -> Configuration:
    """Move NATS to another port when somebody else has taken its own."""
    if not listening(LOOPBACK, configuration.nats_port):
        return configuration
    port = free_nats_port(state)
    text = state.settings_file.read_text(encoding="utf-8")
    servers = [f"nats://{LOOPBACK}:{port}"]
    write_private(state.settings_file, settings_file.with_value(text, "nats", "servers", servers))
    return _read(state)


def with_labs_address(state: StateFolder, configuration: Configuration, chosen: str) -> Configuration:
    """Let labs reach the API at their side's address: the operator's, else the one `chosen` for this folder.

    An address that the operator wrote into `platform.api_url_for_labs` stays; one that we wrote follows.
    """
    address = configuration.labs_address or chosen
    content = settings_file.read(state.settings_file)
    known = str(content.get("platform", {}).get("api_url_for_labs", ""))
    wanted = f"http://{address}:{configuration.port}" if address else ""
    if known != wanted and _is_ours(known):
        text = state.settings_file.read_text(encoding="utf-8")
        write_private(
            state.settings_file, settings_file.with_value(text, "platform", "api_url_for_labs", wanted)
        )
    return replace(configuration, labs_address=address)


def _is_ours(url: str) -> bool:
    try:
        return not url or ipaddress.ip_address(urlsplit(url).hostname or "") in _LABS_NETWORK
    except ValueError:
        return False
