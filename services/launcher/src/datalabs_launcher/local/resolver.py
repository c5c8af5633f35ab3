"""Which name servers a lab can use: those of this machine, unless they listen on its loopback only."""

from pathlib import Path

_HOST = Path("/etc/resolv.conf")
_SYSTEMD = Path("/run/systemd/resolve/resolv.conf")


def text_for_labs(host: Path = _HOST, systemd: Path = _SYSTEMD) -> str | None:
    """Return a resolv.conf for a network namespace of its own; None when every known server is on the loopback."""
    for path in (host, systemd):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        servers = [
            line.split()[1] for line in lines if line.startswith("nameserver") and len(line.split()) > 1
        ]
        if any(not _local(server) for server in servers):
            kept = [
                line for line in lines if not (line.startswith("nameserver") and _local(line.split()[-1]))
            ]
            return "\n".join(kept) + "\n"
    return None


def _local(server: str) -> bool:
    return server.startswith("127.") or server == "::1"
