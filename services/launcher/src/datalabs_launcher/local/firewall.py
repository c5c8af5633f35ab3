"""What labs with a network of their own may reach, as nftables rules written by netlink: no `nft` is needed.

One table a platform, replaced as a whole. Numbers: <linux/netfilter/nf_tables.h>, <linux/netfilter/nfnetlink.h>.
A verdict `accept` here does not overrule another table's `drop`; `drop` and `reject` here are final.
"""

import ipaddress
import struct
from dataclasses import dataclass, field

from datalabs_launcher.local import netlink
from datalabs_launcher.local.netlink import ACK, APPEND, CREATE, attribute, nest

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SUBSYSTEM = 10
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0, 2, 3, 6
_INET = 1
_HOOK_INPUT, _HOOK_FORWARD, _HOOK_POSTROUTING = 1, 2, 4
_EARLY, _SOURCE_NAT = -10, 100
_DROP, _ACCEPT = 0, 1
_NFPROTO, _L4PROTO, _IIFGROUP, _OIFGROUP, _IIFNAME = 15, 16, 21, 22, 6
_EQUAL, _UNEQUAL = 0, 1
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_SOURCE, _DESTINATION = 12, 16
_IPV6, _TCP = 10, 6
_CT_STATE, _CT_STATUS = 0, 2
_ESTABLISHED_OR_RELATED, _NEW, _DESTINATION_NAT = 0x6, 0x8, 0x20
_REJECT_ICMPX, _ADMIN_PROHIBITED = 2, 3

Expression = bytes


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Who the labs are (an interface group, a network) and what they may reach."""

    table: str
    group: int
    network: ipaddress.IPv4Network
    api_address: str
    api_port: int
    egress: bool
    refused: list[ipaddress.IPv4Network] = field(default_factory=list)
    closed_uplink: str | None = None
    """The interface for which forwarding was switched on by us: nobody else's new connections pass through it."""


def _be(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFF_FFFF))


def _name(kind: int, value: str) -> bytes:
    return netlink.text(kind, value)


def _expression(name: str, *inside: bytes) -> Expression:
    return nest(1, _name(1, name), nest(2, *inside))


def _data(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(1, value))


def _meta(key: int) -> Expression:
    return _expression("meta", _be(2, key), _be(1, 1))


def _compare(value: bytes, operation: int = _EQUAL) -> Expression:
    return _expression("cmp", _be(1, 1), _be(2, operation), _data(3, value))


def _payload(base: int, offset: int, length: int) -> Expression:
    return _expression("payload", _be(1, 1), _be(2, base), _be(3, offset), _be(4, length))


def _mask(mask: bytes) -> Expression:
    return _expression(
        "bitwise", _be(1, 1), _be(2, 1), _be(3, len(mask)), _data(4, mask), _data(5, b"\0" * len(mask))
    )


def _host(value: int) -> bytes:
    return struct.pack("=I", value)


def _verdict(code: int) -> Expression:
    return _expression("immediate", _be(1, 0), nest(2, nest(2, _be(1, code))))


def _reject() -> Expression:
    return _expression("reject", _be(1, _REJECT_ICMPX), attribute(2, bytes((_ADMIN_PROHIBITED,))))


def _from_labs(policy: Policy) -> bytes:
    return _meta(_IIFGROUP) + _compare(_host(policy.group))


def _to_labs(policy: Policy, operation: int = _EQUAL) -> bytes:
    return _meta(_OIFGROUP) + _compare(_host(policy.group), operation)


def _tracked(key: int, bits: int, operation: int = _UNEQUAL) -> bytes:
    tracked = _expression("ct", _be(2, key), _be(1, 1))
    return tracked + _mask(_host(bits)) + _compare(_host(0), operation)


def _within(offset: int, network: ipaddress.IPv4Network) -> bytes:
    return (
        _payload(_NETWORK_HEADER, offset, 4)
        + _mask(network.netmask.packed)
        + _compare(network.network_address.packed)
    )


def _input(policy: Policy) -> list[bytes]:
    labs = _from_labs(policy)
    api = ipaddress.IPv4Network(policy.api_address)
    to_api = (
        _within(_DESTINATION, api)
        + (_meta(_L4PROTO) + _compare(bytes((_TCP,))))
        + (_payload(_TRANSPORT_HEADER, 2, 2) + _compare(struct.pack(">H", policy.api_port)))
    )
    return [
        labs + _meta(_NFPROTO) + _compare(bytes((_IPV6,))) + _verdict(_DROP),
        labs + _tracked(_CT_STATE, _ESTABLISHED_OR_RELATED) + _verdict(_ACCEPT),
        labs + to_api + _verdict(_ACCEPT),
        labs + _reject(),
    ]


def _forward(policy: Policy) -> list[bytes]:
    labs = _from_labs(policy)
    rules = [
        labs + _meta(_NFPROTO) + _compare(bytes((_IPV6,))) + _verdict(_DROP),
        labs + _to_labs(policy) + _reject(),
        _to_labs(policy) + _tracked(_CT_STATE, _ESTABLISHED_OR_RELATED) + _verdict(_ACCEPT),
        _to_labs(policy) + _verdict(_DROP),
    ]
    if policy.egress:
        rules += [labs + _within(_DESTINATION, network) + _reject() for network in policy.refused]
        rules.append(labs + _verdict(_ACCEPT))
    else:
        rules.append(labs + _reject())
    if policy.closed_uplink:
        # Published ports of container engines carry the mark of destination NAT; they were meant to pass.
        name = policy.closed_uplink.encode().ljust(16, b"\0")
        begun = _tracked(_CT_STATE, _NEW) + _tracked(_CT_STATUS, _DESTINATION_NAT, _EQUAL)
        rules.append(_meta(_IIFNAME) + _compare(name) + begun + _verdict(_DROP))
    return rules


def _leaving(policy: Policy) -> list[bytes]:
    return [_within(_SOURCE, policy.network) + _to_labs(policy, _UNEQUAL) + _expression("masq")]


class _Batch:
    """A transaction of nf_tables."""

    def __init__(self, socket: netlink.Netlink, table: str) -> None:
        self._socket, self._table = socket, table
        self._messages = [self._frame(_BATCH_BEGIN, _SUBSYSTEM)]

    def _frame(self, kind: int, resource: int) -> bytes:
        return self._socket.message(kind, 0, struct.pack(">BBH", 0, 0, resource))

    def _add(self, kind: int, flags: int, body: bytes) -> None:
        header = struct.pack(">BBH", _INET, 0, 0)
        self._messages.append(self._socket.message((_SUBSYSTEM << 8) | kind, flags | ACK, header + body))

    def table(self) -> None:
        """Make the table."""
        self._add(_NEWTABLE, CREATE, _name(1, self._table))

    def no_table(self) -> None:
        """Remove the table."""
        self._add(_DELTABLE, 0, _name(1, self._table))

    def chain(self, name: str, *, kind: str, hook: int, priority: int) -> None:
        """Make a chain at a hook."""
        at = nest(4, _be(1, hook), _be(2, priority))
        self._add(_NEWCHAIN, CREATE, _name(1, self._table) + _name(3, name) + at + _name(7, kind))

    def rule(self, chain: str, expressions: bytes) -> None:
        """Add a rule."""
        body = _name(1, self._table) + _name(2, chain) + nest(4, expressions)
        self._add(_NEWRULE, CREATE | APPEND, body)

    def send(self) -> None:
        """Carry it out, all or nothing."""
        count = len(self._messages) - 1
        self._socket.transact([*self._messages, self._frame(_BATCH_END, _SUBSYSTEM)], answers=count)


def apply(policy: Policy) -> None:
    """Put the policy in force in place of what was; raises OSError when this kernel cannot."""
    with netlink.Netlink(netlink.NETFILTER) as socket:
        batch = _Batch(socket, policy.table)
        batch.table()
        batch.no_table()
        batch.table()
        batch.chain("to-host", kind="filter", hook=_HOOK_INPUT, priority=_EARLY)
        for rule in _input(policy):
            batch.rule("to-host", rule)
        batch.chain("through", kind="filter", hook=_HOOK_FORWARD, priority=_EARLY)
        for rule in _forward(policy):
            batch.rule("through", rule)
        if policy.egress:
            batch.chain("leaving", kind="nat", hook=_HOOK_POSTROUTING, priority=_SOURCE_NAT)
            for rule in _leaving(policy):
                batch.rule("leaving", rule)
        batch.send()


def remove(table: str) -> None:
    """Take the policy away; that there is none is fine."""
    with netlink.Netlink(netlink.NETFILTER) as socket:
        batch = _Batch(socket, table)
        batch.table()
        batch.no_table()
        batch.send()
