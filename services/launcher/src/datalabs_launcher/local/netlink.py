"""Links, addresses and routes by rtnetlink(7), in-process. Standard library only: the shim imports it.

Each `ip` command costs a process and 2 to 5 ms; a lab's network takes six of them. Here it is one socket and 1 ms.
"""

from __future__ import annotations

import _socket
import os
import struct

TYPE_CHECKING = False  # `typing` and what it imports cost the shim 8 ms
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

ROUTE = 0
NETFILTER = 12

REQUEST, MULTI, ACK, DUMP = 0x1, 0x2, 0x4, 0x300
CREATE, EXCLUSIVE, REPLACE, APPEND = 0x400, 0x200, 0x100, 0x800
NESTED = 0x8000

_ERROR, _DONE = 2, 3
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_UP = 0x1
_EXIST = 17
_BUFFER = 1 << 18

_IFLA_IFNAME, _IFLA_LINKINFO = 3, 18
_IFLA_GROUP, _IFLA_NET_NS_FD = 27, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_VETH_INFO_PEER = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_LINK = 254, 4, 253
_RTN_UNICAST, _RTN_UNREACHABLE = 1, 7


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute: length, type, value, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def text(kind: int, value: str) -> bytes:
    """Return a NUL-terminated attribute."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Return a 32-bit attribute in the machine's byte order."""
    return attribute(kind, struct.pack("=I", value))


def nest(kind: int, *inside: bytes) -> bytes:
    """Return attributes within an attribute."""
    return attribute(kind | NESTED, b"".join(inside))


def packed(address: str) -> bytes:
    """Return an IPv4 address as four bytes."""
    return _socket.inet_aton(address)


class Netlink:
    """A netlink socket; every request waits for its acknowledgement."""

    def __init__(self, protocol: int = ROUTE) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def message(self, kind: int, flags: int, body: bytes) -> bytes:
        """Return a request with the next sequence number."""
        self._sequence += 1
        return struct.pack("=IHHII", 16 + len(body), kind, flags | REQUEST, self._sequence, 0) + body

    def ask(self, kind: int, flags: int, body: bytes) -> None:
        """Send one request and wait; raises OSError with the kernel's answer."""
        self._socket.send(self.message(kind, flags | ACK, body))
        for _ in self._answers(self._sequence):
            pass

    def transact(self, messages: list[bytes], *, answers: int) -> None:
        """Send messages as one and read their acknowledgements; raises OSError with the first refusal."""
        self._socket.send(b"".join(messages))
        while answers > 0:
            data = self._socket.recv(_BUFFER)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", data, 16)[0]
                    if code:
                        raise OSError(code, f"netfilter: {os.strerror(code)}")
                    answers -= 1
                data = data[(length + 3) & ~3 :]

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """Return the bodies that answer a dump request; all are read before the next request may be made."""
        self._socket.send(self.message(kind, DUMP, body))
        return list(self._answers(self._sequence))

    def _answers(self, last: int) -> Iterator[bytes]:
        while True:
            data = self._socket.recv(_BUFFER)
            while data:
                length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data)
                body, data = data[16:length], data[(length + 3) & ~3 :]
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    if code:
                        raise OSError(code, f"netlink: {os.strerror(code)}")
                    if sequence == last:
                        return
                elif kind == _DONE:
                    return
                else:
                    yield body


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes of a body, by type."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:  # noqa: PLR2004 - the header of an attribute
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:  # noqa: PLR2004
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _link(index: int, *, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, _UP if up else 0, _UP if up else 0)


def index_of(netlink: Netlink, name: str) -> int | None:
    """Return the number of an interface, None when there is none of that name."""
    try:
        netlink._socket.send(  # noqa: SLF001 - the same module
            netlink.message(_GETLINK, 0, _link(0) + text(_IFLA_IFNAME, name))
        )
        data = netlink._socket.recv(_BUFFER)  # noqa: SLF001
    except OSError:
        return None
    kind = struct.unpack_from("=H", data, 4)[0]
    return int(struct.unpack_from("=i", data, 20)[0]) if kind == _NEWLINK else None


def set_up(netlink: Netlink, index: int, *, group: int | None = None) -> None:
    """Bring an interface up, in a group if given."""
    netlink.ask(_NEWLINK, 0, _link(index, up=True) + (number(_IFLA_GROUP, group) if group else b""))


def delete_link(netlink: Netlink, index: int) -> None:
    """Remove an interface (and its peer)."""
    netlink.ask(_DELLINK, 0, _link(index))


def add_veth(netlink: Netlink, name: str, *, peer: str, peer_namespace: int) -> None:
    """Make a pair: `name` here, `peer` in the namespace of a descriptor."""
    other = _link(0) + text(_IFLA_IFNAME, peer) + number(_IFLA_NET_NS_FD, peer_namespace)
    info = nest(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "veth"),
        nest(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other)),
    )
    netlink.ask(_NEWLINK, CREATE | EXCLUSIVE, _link(0) + text(_IFLA_IFNAME, name) + info)


def add_address(netlink: Netlink, index: int, address: str, *, bits: int = 32) -> None:
    """Give an interface an IPv4 address; that it has it already is fine."""
    body = struct.pack("=BBBBi", _socket.AF_INET, bits, 0, 0, index)
    body += attribute(_IFA_LOCAL, packed(address)) + attribute(_IFA_ADDRESS, packed(address))
    try:
        netlink.ask(_NEWADDR, CREATE | REPLACE, body)
    except OSError as error:
        if error.errno != _EXIST:
            raise


def delete_address(netlink: Netlink, index: int, address: str, *, bits: int = 32) -> None:
    """Take an IPv4 address from an interface."""
    body = struct.pack("=BBBBi", _socket.AF_INET, bits, 0, 0, index) + attribute(_IFA_LOCAL, packed(address))
    netlink.ask(_DELADDR, 0, body)


def add_route(netlink: Netlink, *, to: str | None, index: int, gateway: str | None = None) -> None:
    """Route one address (None: everything) over an interface, through a gateway if given."""
    scope = 0 if gateway else _RT_SCOPE_LINK
    body = struct.pack(
        "=BBBBBBBBI",
        *(_socket.AF_INET, 32 if to else 0, 0, 0),
        *(_RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, 0),
    )
    body += attribute(_RTA_DST, packed(to)) if to else b""
    body += number(_RTA_OIF, index)
    body += attribute(_RTA_GATEWAY, packed(gateway)) if gateway else b""
    netlink.ask(_NEWROUTE, CREATE | REPLACE, body)


def _unreachable(network: str, bits: int) -> bytes:
    body = struct.pack(
        "=BBBBBBBBI",
        *(_socket.AF_INET, bits, 0, 0),
        *(_RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNREACHABLE, 0),
    )
    return body + attribute(_RTA_DST, packed(network))


def refuse_network(netlink: Netlink, network: str, bits: int) -> None:
    """Answer at once that an address of the network is unreachable, unless a longer route leads to it."""
    netlink.ask(_NEWROUTE, CREATE | REPLACE, _unreachable(network, bits))


def forget_network(netlink: Netlink, network: str, bits: int) -> None:
    """Take `refuse_network` back."""
    netlink.ask(_DELROUTE, 0, _unreachable(network, bits))


def taken(netlink: Netlink) -> list[tuple[str, int]]:
    """Return the IPv4 networks that this machine has routes to or addresses in, as (address, bits)."""
    found: list[tuple[str, int]] = []
    for body in netlink.dump(_GETROUTE, struct.pack("=BBBBBBBBI", _socket.AF_INET, *([0] * 8))):
        bits = body[1]
        destination = attributes(body[12:]).get(_RTA_DST)
        if destination and bits:
            found.append((_socket.inet_ntoa(destination), bits))
    for body in netlink.dump(_GETADDR, struct.pack("=BBBBi", _socket.AF_INET, 0, 0, 0, 0)):
        local = attributes(body[8:]).get(_IFA_LOCAL)
        if local:
            found.append((_socket.inet_ntoa(local), body[1]))
    return found


def default_interface(netlink: Netlink) -> str | None:
    """Return the name of the interface that the default route leaves by."""
    for body in netlink.dump(_GETROUTE, struct.pack("=BBBBBBBBI", _socket.AF_INET, *([0] * 8))):
        inside = attributes(body[12:])
        if body[1] == 0 and _RTA_OIF in inside:
            return name_of(netlink, struct.unpack("=I", inside[_RTA_OIF])[0])
    return None


def name_of(netlink: Netlink, index: int) -> str | None:
    """Return the name of an interface."""
    for body in netlink.dump(_GETLINK, _link(0)):
        if struct.unpack_from("=i", body, 4)[0] == index:
            return attributes(body[16:])[_IFLA_IFNAME].rstrip(b"\0").decode()
    return None
