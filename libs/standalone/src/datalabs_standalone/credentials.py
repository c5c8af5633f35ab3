"""Keys and passwords of one platform, made when they are missing and never changed."""

import json
import os
import secrets
from pathlib import Path

from datalabs_contracts.rpc import SERVICES, STANDALONE
from datalabs_standalone.state import StateFolder, write_private

ADMIN, DEMO, SUBSCRIBER = "admin", "ada", "subscriber"
_ADMIN_VARIABLE, _DEMO_VARIABLE = "DATALABS_ADMIN_PASSWORD", "DATALABS_DEMO_PASSWORD"
_EDGE_KEY_BYTES = 32


def new_password() -> str:
    """Return a password of 144 random bits, safe in URLs and configuration files."""
    return secrets.token_urlsafe(18)


def accounts_file(state: StateFolder) -> Path:
    """Return the file from which auth makes the first accounts."""
    return state.secrets / "accounts.json"


def make_keys(state: StateFolder) -> None:
    """Make the services' identity keys, the gateway's route key and the edge's key, each if it is missing."""
    identity = state.secrets / "identity"
    if not (identity / "public.jwks.json").exists():
        from datalabs_runtime import identity as identities  # noqa: PLC0415 - slow to import; first start only

        identities.make_keys(identity, (*SERVICES, STANDALONE))
    if not (state.secrets / "route.jwks.json").exists():
        _make_route_key(state)
    edge_key = state.secrets / "edge.key"
    if not edge_key.exists():
        write_private(edge_key, secrets.token_hex(_EDGE_KEY_BYTES))


def _make_route_key(state: StateFolder) -> None:
    from joserfc.jwk import ECKey  # noqa: PLC0415 - first start only

    file = state.secrets / "route.key"
    if not file.exists():
        write_private(file, ECKey.generate_key("P-256").as_pem(private=True).decode())
    key = ECKey.import_key(file.read_text(encoding="utf-8"))
    public = {**key.as_dict(private=False), "kid": "route", "alg": "ES256", "use": "sig"}
    write_private(state.secrets / "route.jwks.json", json.dumps({"keys": [public]}, indent=1))


def make_accounts(state: StateFolder, *, nats_url: str, subscriber_password: str) -> None:
    """Write the first accounts, for people (`credentials.json`) and for auth, unless they are there.

    Passwords come from the environment or are made up. The variables are taken out of it: no part needs them.
    """
    admin = os.environ.pop(_ADMIN_VARIABLE, None)
    demo = os.environ.pop(_DEMO_VARIABLE, None)
    file = state.credentials_file
    if not file.exists():
        document = {
            ADMIN: {"username": ADMIN, "password": admin or new_password(), "roles": ["operator"]},
            DEMO: {"username": DEMO, "password": demo or new_password(), "roles": ["user"]},
        }
        write_private(file, json.dumps(document, indent=2) + "\n")
    known = json.loads(file.read_text(encoding="utf-8"))
    subscriber = {"url": nats_url, "user": SUBSCRIBER, "password": subscriber_password}
    if known.get(SUBSCRIBER) != subscriber:  # the port or the password was changed
        known[SUBSCRIBER] = subscriber
        write_private(file, json.dumps(known, indent=2) + "\n")
    seed = accounts_file(state)
    if not seed.exists():
        names = {ADMIN: "Operator", DEMO: "Ada Lovelace"}
        accounts = [{**known[name], "display_name": title} for name, title in names.items()]
        write_private(seed, json.dumps({"accounts": accounts}, indent=2) + "\n")
