"""Where labs live on this machine's networks: addresses that rest, the platform's side address, what labs may reach.

As root each lab has a network namespace with one address out of the platform's own network; its only neighbour is the
platform's side address, where the edge has a listener for it. Else labs share the machine's network and get a loopback
address each.
"""

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from datalabs_launcher.local import blocks, firewall, netlink, veth

ALL = ipaddress.IPv4Network("198.18.0.0/15")
"""The range for benchmarks of network devices (RFC 2544): no site routes it."""
LOOPBACK = ipaddress.IPv4Network("127.64.0.0/10")
REST_SECONDS = 120.0
"""An address rests at least so long after its lab's end: longer than any route token lives."""
_NET_ADMIN, _SYS_ADMIN = 12, 21
_FIRST_GROUP = 0x6400_0000
_INTERFACE = 15


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The network of one state folder: chosen once, kept in `labs/network.json`."""

    name: str
    network: ipaddress.IPv4Network
    loopback: ipaddress.IPv4Network

    @property
    def api_address(self) -> str:
        """The platform's address on the labs' side."""
        return str(self.network.network_address + 1)

    @property
    def group(self) -> int:
        """The number that marks this platform's interfaces."""
        return _FIRST_GROUP + int(self.name[:6], 16)

    @property
    def table(self) -> str:
        """The name of the nftables table of process labs."""
        return f"datalabs-{self.name}"

    @property
    def containers_table(self) -> str:
        """The name of the table of container labs: beside the other one, which goes when no process lab lives."""
        return f"{self.table}-containers"

    @property
    def bridge(self) -> str:
        """The name of the container labs' bridge on this machine; interfaces have room for 15 letters."""
        return f"dlb{self.name}"

    def interface(self, job_id: str) -> str:
        """Return the name of a job's interface on this machine; the same job has the same."""
        digest = hashlib.sha256(f"{self.name}/{job_id}".encode()).hexdigest()
        return f"dl{digest}"[:_INTERFACE]


def may_make_networks() -> bool:
    """Return whether this process has the rights to make network namespaces and interfaces here."""
    if os.geteuid() != 0:
        return False
    with Path("/proc/self/status").open() as file:
        words = [line.split()[1] for line in file if line.startswith("CapEff:")]
    effective = int(words[0], 16)
    return bool(effective >> _NET_ADMIN & 1 and effective >> _SYS_ADMIN & 1)


def api_address(state_folder: Path) -> str | None:
    """Return the address at which labs of this state folder reach the platform's edge; None: the loopback one does.

    The edge listens there beside its ordinary address, with `freebind`, since the address is made when the launcher
    starts. The same state folder has the same address at each start; two folders on one machine differ.
    """
    return plan_of(state_folder).api_address if may_make_networks() else None


def plan_of(state_folder: Path) -> Plan:
    """Return the network of a state folder, chosen at the first call."""
    folder = state_folder.resolve()
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    path = folder / blocks.PLAN
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path.parent / "network.lock"), blocks.locked():
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError):
            known = {}
        if known.get("name") != name or _lost(name, known["network"]):
            # A new folder, or a copied one, or another has its block now: two must never share a network.
            known = {
                "name": name,
                "network": str(blocks.free(name, ALL)[0]),
                "loopback": str(_choose_loopback(name)),
            }
            draft = path.with_suffix(".tmp")
            draft.write_text(json.dumps(known))
            draft.rename(path)
        network = ipaddress.IPv4Network(known["network"])
        blocks.claim(blocks.Claim(network=network, name=name, state_folder=folder))
    return Plan(name=name, network=network, loopback=ipaddress.IPv4Network(known["loopback"]))


def _lost(name: str, network: str) -> bool:
    """Return whether another state folder has claimed this block since the machine started."""
    return any(str(one.network) == network and one.name != name and not one.lapsed for one in blocks.claims())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _choose_loopback(name: str) -> ipaddress.IPv4Network:
    choice = list(LOOPBACK.subnets(new_prefix=blocks.BITS))
    return choice[int(name, 16) % len(choice)]


class Addresses:
    """Gives each job an address of its own, round and round, so that one rests long before it is used again.

    The last one given is kept in a file: a restarted launcher goes on from there.
    """

    def __init__(
        self, *, network: ipaddress.IPv4Network, file: Path, skip: Collection[str], now: Callable[[], float]
    ) -> None:
        self._network, self._file, self._now = network, file, now
        self._skip = set(skip) | {str(network.network_address), str(network.network_address + 1)}
        self._skip.add(str(network.broadcast_address))
        self._resting: dict[str, float] = {}
        try:
            self._last = int(file.read_text())
        except (OSError, ValueError):
            self._last = 0

    def rest(self, address: str, ended: float) -> None:
        """Note when the last lab of an address ended."""
        self._resting[address] = max(ended, self._resting.get(address, 0.0))

    def give(self, taken: Collection[str]) -> str | None:
        """Return a free address that has rested; None when there is none."""
        now = self._now()
        self._resting = {one: at for one, at in self._resting.items() if now - at < REST_SECONDS}
        size = self._network.num_addresses
        for step in range(1, size):
            number = (self._last + step) % size
            address = str(self._network.network_address + number)
            if address in self._skip or address in taken or address in self._resting:
                continue
            self._last = number
            draft = self._file.with_suffix(".tmp")
            draft.write_text(str(number))
            draft.rename(self._file)
            return address
        return None


@dataclass(frozen=True, kw_only=True)
class Firm:
    """What of the labs' network could be put in place: who they reach, and in plain words what does not hold."""

    egress: bool
    walled: bool
    notices: tuple[str, ...] = ()


def establish(plan: Plan, *, address: str, port: int, egress: bool, refused: Collection[str]) -> Firm:
    """Give this machine the platform's side address and put the labs' rules in force. Needs root; repeating is fine."""
    notices: list[str] = []
    take_back_lapsed()
    with netlink.Netlink() as socket:
        netlink.add_address(socket, veth.LOOPBACK, address)
        # What is sent to a lab that has no network yet, or no more, must not leave by the default route.
        netlink.refuse_network(socket, str(plan.network.network_address), plan.network.prefixlen)
        uplink = netlink.default_interface(socket)
    opened = bool(egress and uplink and _open(plan, uplink))
    if egress and not opened:
        notices.append("Labs cannot reach the internet: this machine may not forward their packets.")
    policy = firewall.Policy(
        table=plan.table,
        group=plan.group,
        network=plan.network,
        api_address=address,
        api_port=port,
        egress=opened,
        refused=[ipaddress.IPv4Network(one) for one in refused],
        closed_uplink=uplink if uplink and opened and _users(uplink).is_dir() else None,
    )
    try:
        firewall.apply(policy)
    except OSError as error:
        reason = error.strerror or str(error)
        return Firm(
            egress=False,
            walled=False,
            notices=(
                f"Labs can reach services that listen on all addresses of this machine (no packet filter: {reason}).",
                "Labs cannot reach the internet.",
            ),
        )
    if opened:
        _pass_old_filter(plan)
    return Firm(egress=opened, walled=True, notices=tuple(notices))


def dissolve(plan: Plan, *, address: str) -> None:
    """Take back what `establish` did, for when no process lab lives; container labs keep the address they share.

    What cannot be taken back stays, and harms nobody.
    """
    with contextlib.suppress(OSError):
        firewall.remove(plan.table)
    _leave_old_filter(plan)
    with contextlib.suppress(OSError), netlink.Netlink() as socket:
        uplink = netlink.default_interface(socket)
        if uplink:
            _close(plan, uplink)
        with contextlib.suppress(OSError):
            netlink.forget_network(socket, str(plan.network.network_address), plan.network.prefixlen)
        if netlink.index_of(socket, plan.bridge) is None:
            leave_side(socket, plan, address)


def offer_side(plan: Plan) -> None:
    """Give this machine the platform's side address alone: for a cluster's labs that run here, or reach this machine.

    Raises `OSError` where that may not be.
    """
    take_back_lapsed()
    with netlink.Netlink() as socket:
        netlink.add_address(socket, veth.LOOPBACK, plan.api_address)


def withdraw_side(plan: Plan) -> None:
    """Take `offer_side` back."""
    with contextlib.suppress(OSError), netlink.Netlink() as socket:
        leave_side(socket, plan, plan.api_address)


def leave_side(socket: netlink.Netlink, plan: Plan, address: str) -> None:
    """Take the side address away, unless it was given by the site: others may use it."""
    if address == plan.api_address:
        netlink.delete_address(socket, veth.LOOPBACK, address)


def take_back_lapsed() -> None:
    """Take back what platforms left that were killed and whose state folder is gone, once none of their labs lives."""
    with blocks.locked():
        for one in blocks.claims():
            if one.lapsed and not blocks.inhabited(one.network):
                plan = Plan(name=one.name, network=one.network, loopback=_choose_loopback(one.name))
                dissolve(plan, address=plan.api_address)
                withdraw_side(plan)
                blocks.forget(one)


def _users(uplink: str) -> Path:
    """Return the folder of those who need forwarding on an uplink where it was off before; it goes with the boot."""
    return Path("/run") / f"datalabs-forwarding-{uplink}"


def _switch(uplink: str) -> Path:
    return Path(f"/proc/sys/net/ipv4/conf/{uplink}/forwarding")


def _open(plan: Plan, uplink: str) -> bool:
    """Let answers from the internet in by the uplink: Linux asks the interface that a packet came in by."""
    users = _users(uplink)
    try:
        if _switch(uplink).read_text().strip() != "1":
            users.mkdir(exist_ok=True)
            _switch(uplink).write_text("1")
        if users.is_dir():
            (users / plan.name).touch()
    except OSError:
        return False
    return True


def _close(plan: Plan, uplink: str) -> None:
    """Forward no more on the uplink when we are the last who needed it and it was off before."""
    users = _users(uplink)
    with contextlib.suppress(OSError):
        (users / plan.name).unlink()
        users.rmdir()
        _switch(uplink).write_text("0")


def _pass_old_filter(plan: Plan) -> None:
    """Where a container engine has set iptables' FORWARD to drop (Docker does), say there that labs may pass."""
    if program := shutil.which("iptables"):
        for rule in _passes(plan):
            if not _iptables(program, "-C", rule):
                _iptables(program, "-I", rule)


def _leave_old_filter(plan: Plan) -> None:
    """Take `_pass_old_filter` back."""
    if program := shutil.which("iptables"):
        for rule in _passes(plan):
            _iptables(program, "-D", rule)


def _passes(plan: Plan) -> list[list[str]]:
    return [
        ["-s", str(plan.network), "-j", "ACCEPT"],
        ["-d", str(plan.network), "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
    ]


def _iptables(program: str, action: str, rule: list[str]) -> bool:
    """Return whether iptables did it; that it cannot is no failure, the rule is a courtesy to it."""
    try:
        done = subprocess.run(
            [program, "-w", action, "FORWARD", *rule], check=False, capture_output=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
