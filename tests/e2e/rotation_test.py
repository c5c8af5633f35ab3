"""Every secret is changed as docs/operations.md says; people, labs and the services' own talk go on."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from datalabs_client import Datalabs
from datalabs_contracts.labs import LabState
from datalabs_contracts.rpc import SERVICES
from datalabs_standalone import postgres, probes, settings_file
from tests.running import TEST_CONTENT, RunningPlatform, running

pytestmark = pytest.mark.e2e


def change(platform: RunningPlatform, section: str, words: dict[str, str]) -> None:
    """Change passwords in the settings file, as an operator does with an editor."""
    file = platform.state / "datalabs.toml"
    text = file.read_text()
    for name, word in words.items():
        text = settings_file.with_value(text, section, name, word)
    file.write_text(text)


def settings(platform: RunningPlatform) -> dict[str, Any]:
    return settings_file.read(platform.state / "datalabs.toml")


def fresh(known: dict[str, Any]) -> dict[str, str]:
    return {name: f"{word}-new" for name, word in known.items()}


def change_database_passwords(platform: RunningPlatform) -> dict[str, str]:
    """Give all roles new passwords while the server runs, the superuser's last, and return them."""
    known = settings(platform)["postgres"]["passwords"]
    words = fresh(known)
    run = platform.state / "run"
    server = postgres.PostgresServer(folder=platform.state / "postgres", socket_folder=run)
    with postgres.connect(server, password=known[postgres.SUPERUSER]) as connection:
        for service in SERVICES:
            connection.execute(f"ALTER ROLE datalabs_{service} PASSWORD '{words[service]}'".encode())
        connection.execute(f"ALTER ROLE postgres PASSWORD '{words[postgres.SUPERUSER]}'".encode())
    return words


async def taken(account: dict[str, str]) -> bool:
    """Return whether NATS lets this account in."""
    address = urlsplit(account["url"])
    ask = probes.nats_ready(address.hostname or "", address.port or 0, account["user"], account["password"])
    return (await ask()).ready


async def secret_of(ada: Datalabs, lab: Any) -> str:
    """Return the lab secret that the edge sends, as the lab sees it."""
    async with ada.visit(await lab.open()) as browser:
        headers = (await browser.get("/headers")).text
    return next(line for line in headers.lower().splitlines() if line.startswith("x-lab-secret"))


def keys(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_all_secrets_are_rotated_and_everything_goes_on() -> None:
    with running(content=[TEST_CONTENT]) as platform:
        secrets = platform.state / "secrets"
        async with platform.client("ada") as ada:
            lab = await ada.launch("stub")
            await lab.ready(timeout=180)  # its software is made first, beside that of all others
            sent = await secret_of(ada, lab)
        old_subscriber = json.loads((platform.state / "credentials.json").read_text())["subscriber"]
        before = keys(secrets)
        roles = change_database_passwords(platform)
        platform.down("--keep-labs")
        for name in ("route.key", "route.jwks.json", "edge.key"):
            (secrets / name).unlink()
        for file in (secrets / "identity").iterdir():
            file.unlink()
        (secrets / "identity").rmdir()
        change(platform, "nats.passwords", fresh(settings(platform)["nats"]["passwords"]))
        change(platform, "postgres.passwords", roles)
        platform.up()
        after = keys(secrets)
        same = {name for name in before if after.get(name) == before[name]}
        assert same - {"platform.id"} == {"accounts.json"}, "all keys are new, what is no key stays"
        subscriber = json.loads((platform.state / "credentials.json").read_text())["subscriber"]
        assert (await taken(old_subscriber), await taken(subscriber)) == (False, True)
        async with platform.client("ada") as ada:
            found = await ada.lab(lab.id)
            assert (found.lab.state, found.lab.attempt) == (LabState.READY, 1)
            assert await secret_of(ada, found) != sent, "the edge has a new key"
            await found.stop()
            await found.until(lambda lab: lab.state.ended, timeout=20)
            await ada.call("POST", f"/labs/{lab.id}/restart", {})
            await found.until(lambda lab: lab.attempt == 2 and lab.state is LabState.READY, timeout=60)
            other = await ada.launch("stub")
            await other.ready(timeout=60)
            for one in (found, other):
                async with ada.visit(await one.open()) as browser:
                    assert (await browser.get("/anything")).text == "ok"
            await other.stop()
            await other.until(lambda lab: lab.state.ended, timeout=20)
