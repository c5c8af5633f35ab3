"""Which platform of this machine has which block of addresses: noted where all of them look, until the next boot.

Two platforms with one block take the side address from each other. And a platform that was killed, and whose state folder
was removed after, leaves nobody who takes back what it had put in place: the next one that starts here does.
"""

import contextlib
import fcntl
import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datalabs_launcher.local import netlink

FOLDER = Path("/run/datalabs-networks")
"""One file a block; it goes with the boot, as networks do."""
PLAN = Path("labs", "network.json")
"""Where in its state folder a platform keeps which network is its own."""
BITS = 20


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A block of addresses that a state folder has, `since` its last start (seconds since 1970)."""

    network: ipaddress.IPv4Network
    name: str
    state_folder: Path
    since: float = 0.0

    @property
    def lapsed(self) -> bool:
        """Whether the state folder is gone; one that cannot be looked into is not."""
        try:
            (self.state_folder / PLAN).stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Keep all other platforms of this machine from claiming; where nothing can be noted there is nothing to lock."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            FOLDER.mkdir(mode=0o755, exist_ok=True)
            file = stack.enter_context((FOLDER / "lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claims() -> list[Claim]:
    """Return what is claimed."""
    found: list[Claim] = []
    for path in FOLDER.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(path.read_text())
            found.append(
                Claim(
                    network=ipaddress.IPv4Network(known["network"]),
                    name=str(known["name"]),
                    state_folder=Path(known["state_folder"]),
                    since=path.stat().st_mtime,
                )
            )
    return found


def claim(wanted: Claim) -> None:
    """Note who has a block now; without the rights to, platforms only see each other's addresses."""
    path = _path(wanted.network)
    with contextlib.suppress(OSError):
        draft = path.with_suffix(".tmp")
        draft.write_text(
            json.dumps(
                {
                    "network": str(wanted.network),
                    "name": wanted.name,
                    "state_folder": str(wanted.state_folder),
                }
            )
        )
        draft.rename(path)


def forget(lapsed: Claim) -> None:
    """Give a block free."""
    with contextlib.suppress(OSError):
        _path(lapsed.network).unlink()


def free(name: str, within: ipaddress.IPv4Network) -> list[ipaddress.IPv4Network]:
    """Return the blocks that nothing on this machine uses, those first that the name leads to; never none.

    What is only claimed comes last, the longest claimed first: more state folders than blocks can take turns.
    """
    blocks = list(within.subnets(new_prefix=BITS))
    first = int(name, 16) % len(blocks)
    ordered = blocks[first:] + blocks[:first]
    used = _used()
    claimed = {one.network: one.since for one in claims()}
    unused = [block for block in ordered if not any(block.overlaps(network) for network in used)]
    return sorted(unused, key=lambda block: claimed.get(block, 0.0)) or ordered[:1]


def held(network: ipaddress.IPv4Network) -> bool:
    """Return whether a block is in use for process labs: this machine knows where to send what is for none of them."""
    return network in _used()


def inhabited(network: ipaddress.IPv4Network) -> bool:
    """Return whether a lab lives in a block: each has a route of its own, beside the platform's side address."""
    side = network.network_address + 1
    return any(one.subnet_of(network) and one != network and one.network_address != side for one in _used())


def _used() -> list[ipaddress.IPv4Network]:
    try:
        with netlink.Netlink() as socket:
            return [
                ipaddress.IPv4Network(f"{address}/{bits}", strict=False)
                for address, bits in netlink.taken(socket)
                if bits
            ]
    except OSError:
        return []


def _path(network: ipaddress.IPv4Network) -> Path:
    return FOLDER / f"{network.network_address}.json"
