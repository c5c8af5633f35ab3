# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH123
"""A lab's own network namespace with one pair of interfaces. Standard library only: the shim imports it.

The host's end has no address: the lab's only neighbour is the labs' side address of the platform (`network.py`), which
lies on the host's loopback interface. The namespace lives as long as the lab's processes; with it the pair goes.
"""

from __future__ import annotations

import os

from datalabs_launcher.local import netlink, syscalls

TYPE_CHECKING = False  # `typing` and what it imports cost the shim 8 ms
if TYPE_CHECKING:
    from typing import Any

LOOPBACK = 1
INSIDE = "eth0"


def namespace() -> int:
    """Make an empty network namespace and return its descriptor. The caller stays where it is."""
    host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        try:
            return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            syscalls.setns(host, syscalls.CLONE_NEWNET)
    finally:
        os.close(host)


def connect(inside: int, network: dict[str, Any]) -> None:
    """Connect the namespace of a descriptor. The caller stays where it is."""
    host = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(inside, syscalls.CLONE_NEWNET)
        try:
            lab = netlink.Netlink()  # a socket stays where it was made
            index = _pair(lab, network, host)
        finally:
            syscalls.setns(host, syscalls.CLONE_NEWNET)
    finally:
        os.close(host)
    with lab:
        with netlink.Netlink() as outside:
            _welcome(outside, network)
        # Routes need the pair to be up at both ends.
        netlink.add_route(lab, to=network["gateway"], index=index)
        if network["forward"]:  # else the lab hears at once that there is no way out
            netlink.add_route(lab, to=None, index=index, gateway=network["gateway"])


def _pair(lab: netlink.Netlink, network: dict[str, Any], host: int) -> int:
    # /proc/sys/net shows the namespace of who looks; link-local IPv6 would be a second way to the host.
    _switch("ipv6/conf/default/disable_ipv6", on=True)
    netlink.set_up(lab, LOOPBACK)
    netlink.add_veth(lab, INSIDE, peer=network["interface"], peer_namespace=host)
    index = netlink.index_of(lab, INSIDE)
    assert index is not None
    netlink.set_up(lab, index)
    netlink.add_address(lab, index, network["address"])
    return index


def _welcome(outside: netlink.Netlink, network: dict[str, Any]) -> None:
    name = network["interface"]
    index = netlink.index_of(outside, name)
    assert index is not None
    _switch(f"ipv6/conf/{name}/disable_ipv6", on=True)
    _switch(f"ipv4/conf/{name}/forwarding", on=network["forward"])
    netlink.set_up(outside, index, group=network["group"])
    netlink.add_route(outside, to=network["address"], index=index)


def _switch(name: str, *, on: bool) -> None:
    try:
        with open(f"/proc/sys/net/{name}", "w") as file:
            file.write("1" if on else "0")
    except OSError:
        pass  # no IPv6, or /proc/sys is read-only here: the firewall still refuses
