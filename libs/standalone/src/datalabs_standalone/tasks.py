"""Short tasks that need the services' libraries; run in forks of the nursery, one process each."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from datalabs_contracts.labs import Lab, LabsQuery, Reason, StopLab
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import LIST_LABS, SERVICES, STANDALONE, STOP_LAB
from datalabs_runtime import logging, topology
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.settings import (
    NatsSettings,
    PlatformSettings,
    PostgresSettings,
    TelemetrySettings,
    load,
)
from datalabs_standalone import postgres
from datalabs_standalone.fork_requests import SAYS

_STOP_SECONDS = 60.0
_STOP_POLL_SECONDS = 0.25


def say(text: str) -> None:
    """Tell the operator."""
    sys.stdout.write(f"{SAYS}{text}\n")
    sys.stdout.flush()


def prepare_foundation() -> None:
    """Declare the topology and bring every database to its newest migration, both at once."""
    nats = load(NatsSettings)
    _, password = nats.model_copy(update={"user": "topology"}).credentials("topology")
    with ThreadPoolExecutor(max_workers=2) as pool:
        declaring = pool.submit(asyncio.run, topology.declare(nats.servers, password=password))
        migrating = pool.submit(prepare_databases)
        declaring.result()
        migrating.result()


def prepare_databases() -> None:
    """Make roles and databases, then migrate; services whose migrations are the stored ones are passed over."""
    platform, settings = load(PlatformSettings), load(PostgresSettings)
    stamps = Stamps(platform.state_folder / "postgres" / "data")
    due = [service for service in SERVICES if stamps.stored(service) != migrations_of(service)]
    if not due:
        return
    words = {name: password.get_secret_value() for name, password in settings.passwords.items()}
    server = postgres.PostgresServer(
        folder=platform.state_folder / "postgres", socket_folder=Path(settings.host), port=settings.port
    )
    superuser_password = words.pop(postgres.SUPERUSER)
    postgres.declare(server, superuser_password=superuser_password, passwords=words)
    from datalabs_runtime import migrations  # noqa: PLC0415 - a tenth of all imports, for first starts only

    for service in due:
        migrations.upgrade(service, settings.url(service))
        stamps.store(service, migrations_of(service))
    say(f"databases prepared: {', '.join(due)}")


def migrations_of(service: str) -> str:
    """Return the names of a service's migrations, which never change once they were released."""
    found = importlib.util.find_spec(f"datalabs_{service}")
    package = Path(str(found.origin)).parent if found is not None else Path()
    folders = (package / "migrations" / "versions", package.parents[1] / "migrations" / "versions")
    return " ".join(sorted(file.stem for folder in folders for file in folder.glob("*.py")))


class Stamps:
    """Which migrations each database has had; kept inside the cluster, so that they go and come with it."""

    def __init__(self, cluster: Path) -> None:
        self._cluster = cluster

    def stored(self, service: str) -> str | None:
        """Return the names, or None if this database was never migrated."""
        try:
            return self._file(service).read_text(encoding="utf-8")
        except OSError:
            return None

    def store(self, service: str, names: str) -> None:
        """Remember the names."""
        file = self._file(service)
        fresh = file.with_suffix(".new")
        fresh.write_text(names, encoding="utf-8")
        fresh.replace(file)

    def _file(self, service: str) -> Path:
        return self._cluster / f"datalabs_{service}.migrated"


def stop_labs() -> None:
    """End every live lab with the reason `stopped_by_operator` and wait until all have ended."""
    asyncio.run(_stop_labs())


async def _stop_labs() -> None:
    logging.setup(STANDALONE, load(TelemetrySettings))
    identities = load(PlatformSettings).identities
    messaging = Messaging(
        STANDALONE,
        load(NatsSettings),
        signer=Signer.read(STANDALONE, identities),
        verifier=Verifier.read(identities),
    )
    await messaging.start()
    try:
        live = await _live(messaging)
        if not live:
            return
        say(f"stopping {len(live)} {'lab' if len(live) == 1 else 'labs'}")
        asked = (_stop_one(messaging, lab) for lab in live)
        await asyncio.gather(*asked)
        async with asyncio.timeout(_STOP_SECONDS):
            while left := await _live(messaging):  # noqa: ASYNC110 - the launcher's answer is asked for
                await asyncio.sleep(_STOP_POLL_SECONDS)
    except TimeoutError:
        say(f"{len(left)} labs have not ended within {_STOP_SECONDS:g} s: {_names(left)}")
        sys.exit(1)
    except ProblemError as error:
        sys.exit(f"the launcher does not answer: {error}")
    finally:
        await messaging.aclose()


async def _stop_one(messaging: Messaging, lab: Lab) -> None:
    request = StopLab(lab_id=lab.id, reason=Reason.STOPPED_BY_OPERATOR)
    try:
        await messaging.rpc.call(STOP_LAB, request, timeout=10.0)
    except ProblemError as error:
        if error.code not in {ProblemCode.LAB_ENDED, ProblemCode.NOT_FOUND}:
            structlog.get_logger(__name__).warning("lab not stopped", lab=lab.id, code=error.code)


async def _live(messaging: Messaging) -> list[Lab]:
    """Return all labs that have not ended."""
    found: list[Lab] = []
    cursor: str | None = None
    while True:
        query = LabsQuery(include_ended=False, limit=200, cursor=cursor)
        page = await messaging.rpc.call(LIST_LABS, query, timeout=10.0)
        found.extend(lab for lab in page.items if not lab.state.ended)
        cursor = page.next
        if cursor is None:
            return found


def _names(labs: Iterable[Lab]) -> str:
    return ", ".join(f"{lab.name} ({lab.id})" for lab in labs)


TASKS: dict[str, Callable[[], None]] = {"foundation": prepare_foundation, "stop-labs": stop_labs}
"""Tasks by name."""
