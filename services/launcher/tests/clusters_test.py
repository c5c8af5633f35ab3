"""With Nomad alone the launcher itself puts the address in place at which labs reach the platform."""

import os
from pathlib import Path

import pytest

from datalabs_contracts.datalabs import Runtime
from datalabs_launcher.clusters import LOCAL, NOMAD, ClusterPart, side_of
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.local import blocks, netlink, network
from datalabs_runtime.settings import PlatformSettings
from datalabs_testing.ports import free_port

from .fake_scheduler import FakeScheduler
from .lab_bench import LabBench

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="addresses are root's")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> network.Plan:
    monkeypatch.setattr(blocks, "FOLDER", tmp_path / "claims")
    return network.plan_of(tmp_path / "state")


def platform(tmp_path: Path, address: str) -> PlatformSettings:
    return PlatformSettings(state_folder=tmp_path / "state", api_url_for_labs=f"http://{address}:8080")


def there(plan: network.Plan) -> bool:
    with netlink.Netlink() as socket:
        return plan.api_address in {address for address, _ in netlink.taken(socket)}


async def test_labs_on_nomad_alone_reach_the_platform(tmp_path: Path, plan: network.Plan) -> None:
    side = side_of(LauncherSettings(scheduler=NOMAD), platform(tmp_path, plan.api_address))
    part = ClusterPart(FakeScheduler(), side)
    await part.start()
    assert there(plan)
    await part.aclose()
    assert not there(plan)


@pytest.mark.parametrize("away", [True, False])
async def test_while_labs_live_or_nobody_knows_the_address_stays(
    tmp_path: Path, plan: network.Plan, *, away: bool
) -> None:
    scheduler = FakeScheduler()
    part = ClusterPart(scheduler, plan)
    await part.start()
    try:
        await scheduler.submit(
            LabBench(tmp_path / "labs", patience=5).job_of("ada", runtime=Runtime.PROCESS, port=free_port())
        )
        scheduler.away = away
        await part.aclose()
        assert there(plan)
    finally:
        network.withdraw_side(plan)
        await scheduler.close_all()


def test_it_is_left_alone_where_labs_of_this_machine_have_it_or_the_site_gave_another(
    tmp_path: Path, plan: network.Plan
) -> None:
    assert side_of(LauncherSettings(scheduler=LOCAL), platform(tmp_path, plan.api_address)) is None
    assert side_of(LauncherSettings(scheduler=NOMAD), platform(tmp_path, "192.0.2.1")) is None
    assert side_of(LauncherSettings(scheduler=NOMAD), platform(tmp_path, "edge.example.org")) is None
