import json
import shutil
import socket
import stat
from pathlib import Path

import pytest

from datalabs_contracts.rpc import SERVICES
from datalabs_launcher.config import LauncherSettings
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load
from datalabs_standalone import configuration, credentials, settings_file
from datalabs_standalone.described import all_settings
from datalabs_standalone.failures import PortTakenError, SettingsError
from datalabs_standalone.options import UpOptions, domain_notice
from datalabs_standalone.state import StateFolder

PORT = 18_431


def test_the_first_settings_serve_every_service(state: StateFolder) -> None:
    made = configuration.configure(state, UpOptions(port=PORT))
    file = state.settings_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    platform = load(PlatformSettings, file)
    assert platform.public_url == made.public_url == f"http://localhost:{PORT}"
    assert platform.state_folder == state.root
    assert platform.labs_port == PORT
    for service in SERVICES:
        assert load(NatsSettings, file).credentials(service)[1] == made.nats_passwords[service]
        assert load(PostgresSettings, file).url(service).password == made.postgres_passwords[service]
    passwords = [*made.nats_passwords.values(), *made.postgres_passwords.values()]
    assert len(set(passwords)) == len(passwords)


def test_a_second_start_keeps_passwords_and_edits(state: StateFolder) -> None:
    first = configuration.configure(state, UpOptions(port=PORT))
    file = state.settings_file
    file.write_text(file.read_text().replace("# site_name = ", "# we are\nsite_name = "))
    edited = file.read_text()
    assert configuration.configure(state, UpOptions()) == first
    assert file.read_text() == edited


def test_another_port_moves_the_addresses(state: StateFolder) -> None:
    configuration.configure(state, UpOptions(port=PORT))
    moved = configuration.configure(state, UpOptions(port=PORT + 1))
    platform = load(PlatformSettings, state.settings_file)
    assert moved.port == platform.labs_port == PORT + 1
    assert platform.public_url == f"http://localhost:{PORT + 1}"


def test_a_public_address_stays_when_the_port_changes(state: StateFolder) -> None:
    options = UpOptions(
        port=PORT, host="0.0.0.0", public_url="https://labs.example.org/", labs_domain="example-labs.org"
    )
    configuration.configure(state, options)
    moved = configuration.configure(state, UpOptions(port=PORT + 1, scheduler="local"))
    platform = load(PlatformSettings, state.settings_file)
    assert moved.public_url == platform.public_url == "https://labs.example.org"
    assert (platform.labs_scheme, platform.labs_port, platform.labs_domain) == (
        "https",
        443,
        "example-labs.org",
    )
    assert settings_file.read(state.settings_file)["launcher"]["scheduler"] == "local"


def test_the_environment_wins(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration.configure(state, UpOptions(port=PORT))
    monkeypatch.setenv("DATALABS_STANDALONE_PORT", "19000")
    assert configuration.configure(state, UpOptions()).port == 19_000
    origins = {one.name: one for one in all_settings(state.settings_file)}
    assert origins["standalone.port"].value == "19000"
    assert origins["standalone.port"].origin == "environment DATALABS_STANDALONE_PORT"
    assert origins["platform.public_url"].origin == f"file {state.settings_file}"
    assert origins["platform.site_name"].origin == "default"
    assert "********" in origins["nats.passwords"].value


def test_a_moved_folder_is_followed(state: StateFolder) -> None:
    configuration.configure(state, UpOptions(port=PORT))
    other = StateFolder(state.root.with_name("moved"))
    shutil.copytree(state.root, other.root)
    moved = configuration.configure(other, UpOptions())
    assert moved.postgres_folder == other.run
    assert str(state.root) + '"' not in other.settings_file.read_text()
    assert load(PlatformSettings, other.settings_file).state_folder == other.root


def test_the_labs_side_address_follows_unless_it_is_the_operators(state: StateFolder) -> None:
    made = configuration.configure(state, UpOptions(port=PORT))
    chosen = configuration.with_labs_address(state, made, "198.18.16.1")
    assert chosen.labs_address == "198.18.16.1"
    assert load(PlatformSettings, state.settings_file).api_url_for_labs == f"http://198.18.16.1:{PORT}"
    configuration.with_labs_address(state, made, "198.19.0.1")
    assert load(PlatformSettings, state.settings_file).api_url_for_labs == f"http://198.19.0.1:{PORT}"
    configuration.with_labs_address(state, made, "")
    assert not load(PlatformSettings, state.settings_file).api_url_for_labs
    text = state.settings_file.read_text()
    mine = settings_file.with_value(text, "platform", "api_url_for_labs", "https://api.example.org")
    state.settings_file.write_text(mine)
    configuration.with_labs_address(state, made, "198.18.16.1")
    assert load(PlatformSettings, state.settings_file).api_url_for_labs == "https://api.example.org"


def test_garbled_settings_are_one_line(state: StateFolder) -> None:
    state.settings_file.write_text("[nats]\nservers = []\n")
    with pytest.raises(SettingsError, match="lacks or garbles"):
        configuration.configure(state, UpOptions())


def test_a_taken_port_is_named(state: StateFolder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        made = configuration.configure(state, UpOptions(port=port))
        with pytest.raises(PortTakenError, match=f"port {port} of 127.0.0.1 is in use"):
            configuration.check_port(made)


def test_an_address_of_another_machine_is_named(state: StateFolder) -> None:
    made = configuration.configure(state, UpOptions(port=PORT, host="192.0.2.1"))
    with pytest.raises(SettingsError, match="not an address of this machine"):
        configuration.check_port(made)


def test_nats_moves_when_its_port_was_taken_meanwhile(state: StateFolder) -> None:
    made = configuration.configure(state, UpOptions(port=PORT))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", made.nats_port))
        taken.listen(1)
        moved = configuration.with_free_nats_port(state, made)
    assert moved.nats_port != made.nats_port
    assert load(NatsSettings, state.settings_file).servers == [f"nats://127.0.0.1:{moved.nats_port}"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (UpOptions(scheduler="swarm"), SettingsError),
        (UpOptions(scheduler="slurm"), SettingsError),
        (UpOptions(public_url="labs.example.org"), SettingsError),
        (UpOptions(public_url="https://example.org/path"), SettingsError),
    ],
)
def test_what_cannot_be_is_refused(options: UpOptions, error: type[Exception]) -> None:
    with pytest.raises(error):
        options.check()


@pytest.mark.parametrize(
    ("public_url", "labs_domain", "words"),
    [
        ("http://localhost:8080", "localhost", None),
        ("https://datalabs.example.org", "labs.example.org", "one site"),
        ("https://datalabs.example.org", "localhost", "only browsers on this machine"),
        ("https://datalabs.example.org", "example-labs.org", None),
    ],
)
def test_one_site_for_labs_and_platform_is_warned_of(
    public_url: str, labs_domain: str, words: str | None
) -> None:
    notice = domain_notice(public_url, labs_domain)
    assert (notice is None) if words is None else (notice is not None and words in notice)


def test_keys_and_accounts_are_made_once(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALABS_ADMIN_PASSWORD", "from the environment")
    for url in ("nats://127.0.0.1:4222", "nats://127.0.0.1:4299"):
        credentials.make_keys(state)
        credentials.make_accounts(state, nats_url=url, subscriber_password="s")
    known = json.loads(state.credentials_file.read_text())
    assert known["admin"]["password"] == "from the environment"
    assert len(known["ada"]["password"]) >= 20
    assert known["subscriber"] == {"url": "nats://127.0.0.1:4299", "user": "subscriber", "password": "s"}
    credentials.make_accounts(state, nats_url="nats://127.0.0.1:4299", subscriber_password="rotated")
    rotated = json.loads(state.credentials_file.read_text())
    assert rotated["subscriber"]["password"] == "rotated", "what the settings say now holds"
    assert rotated["ada"] == known["ada"]
    seed = json.loads(credentials.accounts_file(state).read_text())["accounts"]
    assert [(one["username"], one["roles"]) for one in seed] == [("admin", ["operator"]), ("ada", ["user"])]
    files = [file for file in state.root.rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    public = json.loads((state.secrets / "route.jwks.json").read_text())["keys"][0]
    assert "d" not in public
    assert public["kid"] == "route"
    assert Path(state.secrets / "identity" / "standalone.key").exists()


def test_only_a_launcher_that_stays_alone_leads_for_long(state: StateFolder, tmp_path: Path) -> None:
    configuration.configure(state, UpOptions(port=PORT))
    assert load(LauncherSettings, state.settings_file).lease > LauncherSettings().lease
    several = StateFolder.at(tmp_path / "several")
    several.check_and_make()
    configuration.configure(several, UpOptions(port=PORT), one_machine=False)
    assert load(LauncherSettings, several.settings_file).lease == LauncherSettings().lease
