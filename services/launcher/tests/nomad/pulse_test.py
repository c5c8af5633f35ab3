"""A cluster that hangs is noticed by asking it: its event stream may be silent for long without being broken."""

import asyncio
from urllib.parse import urlsplit

import pytest

from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.scheduler import SchedulerAwayError
from datalabs_testing.chaos import ChaosProxy
from datalabs_testing.nomad import FakeNomad, Node

SOON = 5.0
"""Seconds; the stream itself would be given up after 75."""


async def test_a_cluster_that_hangs_is_away_after_one_question() -> None:
    async with FakeNomad(nodes=[Node(name="one")]) as fake:
        at = urlsplit(fake.address)
        assert at.hostname
        assert at.port
        async with ChaosProxy(at.hostname, at.port) as proxy:
            settings = NomadSettings(
                nomad_address=f"http://{proxy.host}:{proxy.port}", nomad_wait=0.5, nomad_pulse=0.2
            )
            cluster = NomadScheduler(settings=settings, platform="test")
            await cluster.start()
            try:
                news = cluster.watch()
                quiet = asyncio.ensure_future(anext(news))
                await asyncio.wait({quiet}, timeout=1.0)
                assert not quiet.done(), "it answers, so nothing is wrong"
                proxy.lose_replies()
                with pytest.raises(SchedulerAwayError):
                    await asyncio.wait_for(quiet, SOON)
                with pytest.raises(SchedulerAwayError):
                    await cluster.jobs()
                proxy.heal()
                await asyncio.wait_for(_answers(cluster), SOON)
            finally:
                await cluster.aclose()


async def _answers(cluster: NomadScheduler) -> None:
    while True:
        try:
            await cluster.jobs()
        except SchedulerAwayError:
            await asyncio.sleep(0.1)
        else:
            return
