"""The labs' bridge: one network of the engine for all container labs of a platform, and what may be reached from it.

The engine makes the bridge and keeps containers from one another; the rules that keep them from this machine are the same
as process labs have (`local/firewall.py`), because the bridge is put into the same group of interfaces.
"""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from datalabs_launcher.containers.engine import Engine, EngineRefusedError
from datalabs_launcher.containers.observing import instant
from datalabs_launcher.containers.specification import PLATFORM_LABEL
from datalabs_launcher.local import blocks, firewall, netlink, network, veth

RANGE = ipaddress.IPv4Network("100.64.0.0/10")
"""Addresses that are nobody's own (RFC 6598), apart from those of process labs; 1,024 blocks."""
UNWALLED = "Container labs can reach services of this machine: its firewall is not ours to set."
YOUNG = timedelta(minutes=10)
TRIES = 8
"""Blocks of addresses tried: the engine may know of users of one that this machine's routes do not show."""


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The network as it stands: what holds of its walls, in plain words what does not."""

    name: str
    subnet: ipaddress.IPv4Network
    walled: bool
    egress: bool
    notices: tuple[str, ...] = ()


def name_of(plan: network.Plan) -> str:
    """Return the name of a platform's network."""
    return f"datalabs-{plan.name}"


async def establish(
    engine: Engine,
    plan: network.Plan,
    *,
    api_address: str,
    api_port: int,
    egress: bool,
    refused: Collection[str],
) -> Bridge:
    """Have the network, with its walls; repeating is fine. Blocks for some hundredths of a second.

    Raises `SchedulerAwayError`, and `EngineRefusedError` when the engine will not make the network.
    """
    await take_back_lapsed(engine)
    subnet = await _subnet(engine, plan)
    if not network.may_make_networks():
        return Bridge(
            name=name_of(plan),
            subnet=subnet,
            walled=False,
            egress=True,
            notices=(UNWALLED,),
        )
    notices: list[str] = []
    try:
        _wall(plan, subnet, api_address=api_address, api_port=api_port, egress=egress, refused=refused)
        walled = True
    except OSError as error:
        walled = False
        notices.append(
            f"Container labs can reach services of this machine (no packet filter: {error.strerror or error})."
        )
    return Bridge(
        name=name_of(plan), subnet=subnet, walled=walled, egress=egress and walled, notices=tuple(notices)
    )


async def _subnet(engine: Engine, plan: network.Plan) -> ipaddress.IPv4Network:
    """Return the network's addresses; it is made when the engine has none of that name."""
    last: EngineRefusedError | None = None
    for block in blocks.free(plan.name, RANGE)[:TRIES]:
        known = await engine.network(name_of(plan))
        if known is not None:
            return ipaddress.IPv4Network(known["IPAM"]["Config"][0]["Subnet"])
        try:
            await engine.create_network(
                name_of(plan),
                driver="bridge",
                labels={PLATFORM_LABEL: plan.name},
                options={
                    "com.docker.network.bridge.name": plan.bridge,
                    "com.docker.network.bridge.enable_icc": "false",
                    # Ours says which packets leave, and under which address.
                    "com.docker.network.bridge.enable_ip_masquerade": "false",
                },
                ipam={
                    "Driver": "default",
                    "Config": [{"Subnet": str(block), "Gateway": str(block.network_address + 1)}],
                },
            )
        except EngineRefusedError as refused:  # somebody has these addresses, or made the network just now
            last = refused
    known = await engine.network(name_of(plan))
    if known is None:
        assert last is not None
        raise last
    return ipaddress.IPv4Network(known["IPAM"]["Config"][0]["Subnet"])


def _wall(
    plan: network.Plan,
    subnet: ipaddress.IPv4Network,
    *,
    api_address: str,
    api_port: int,
    egress: bool,
    refused: Collection[str],
) -> None:
    """Put the bridge among the labs' interfaces and the labs' rules in force for it."""
    name = plan.bridge
    with netlink.Netlink() as socket:
        netlink.add_address(socket, veth.LOOPBACK, api_address)
        index = netlink.index_of(socket, name)
        if index is None:
            raise OSError(f"the engine's bridge {name} is not on this machine")
        netlink.set_up(socket, index, group=plan.group)
    firewall.apply(
        firewall.Policy(
            table=plan.containers_table,
            group=plan.group,
            network=subnet,
            api_address=api_address,
            api_port=api_port,
            egress=egress,
            refused=[ipaddress.IPv4Network(one) for one in refused],
        )
    )


async def dissolve(engine: Engine, plan: network.Plan, *, address: str) -> None:
    """Take the network and its rules back, for when no container lab is left; process labs keep the address they share."""
    await engine.remove_network(name_of(plan))
    if not network.may_make_networks():
        return
    firewall.remove(plan.containers_table)
    if not blocks.held(plan.network):
        with netlink.Netlink() as socket:
            network.leave_side(socket, plan, address)


async def take_back_lapsed(engine: Engine) -> None:
    """Take back the networks of platforms that are gone from this machine and have no container left.

    Those that were never claimed here may be of a platform that cannot note it, and just about to start a container.
    """
    if not network.may_make_networks():
        return
    claimed = {one.name for one in blocks.claims() if not one.lapsed}
    for known in await engine.networks(PLATFORM_LABEL):
        name = known["Labels"][PLATFORM_LABEL]
        made = instant(known["Created"])
        young = made is None or datetime.now(UTC) - made < YOUNG
        if name not in claimed and not young and not await engine.list(f"{PLATFORM_LABEL}={name}"):
            await engine.remove_network(known["Name"])
            firewall.remove(f"{known['Name']}-containers")
