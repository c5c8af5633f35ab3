"""`python -m datalabs_testing.nomad --port 4646`: the emulated cluster as a process of its own."""

import argparse
import asyncio
import signal
import sys

from datalabs_testing.nomad.fake import FakeNomad
from datalabs_testing.nomad.listeners import Listening
from datalabs_testing.nomad.nodes import Device, Node
from datalabs_testing.nomad.scheduler import Pace


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m datalabs_testing.nomad", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=0, help="port of 127.0.0.1; 0: a free one, which is printed"
    )
    parser.add_argument("--nodes", type=int, default=1, help="how many machines")
    parser.add_argument("--cores", type=int, default=16, help="cores of each")
    parser.add_argument("--memory", type=int, default=65_536, help="MiB of each")
    parser.add_argument("--disk", type=int, default=1_000_000, help="MiB of each")
    parser.add_argument("--gpu", default="", help="model and number of GPUs of each, as in `L40S:4`")
    parser.add_argument(
        "--event-buffer", type=int, default=10_000, help="entries that the event stream keeps"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="seconds that pass for each of the machine's"
    )
    parser.add_argument("--instant", action="store_true", help="the cluster takes no time of its own")
    parser.add_argument("--listen", action="store_true", help="a real HTTP listener on each allocated port")
    return parser.parse_args(arguments)


async def _run(options: argparse.Namespace) -> None:
    model, _, count = options.gpu.partition(":")
    devices = (Device(model=model, count=int(count or 1)),) if model else ()
    nodes = [
        Node(
            name=f"node-{number}",
            cores=options.cores,
            cpu=options.cores * 2000,
            memory_mib=options.memory,
            disk_mib=options.disk,
            devices=devices,
        )
        for number in range(1, options.nodes + 1)
    ]
    fake = FakeNomad(
        nodes=nodes,
        scale=options.scale,
        pace=Pace.at_once() if options.instant else None,
        event_buffer=options.event_buffer,
        listening=Listening.HTTP if options.listen else Listening.NOTHING,
        port=options.port,
        control=True,
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with fake:
        sys.stdout.write(f"{fake.address}\n")
        sys.stdout.flush()
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_run(_parsed(sys.argv[1:])))
