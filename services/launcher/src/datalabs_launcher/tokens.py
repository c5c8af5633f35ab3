"""The lab's own token: what code inside the lab shows to the platform; it gives the rights of that lab, no more."""

import asyncio
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import structlog
from joserfc import jwt
from joserfc.jwk import ECKey

from datalabs_contracts.volumes import Mount
from datalabs_launcher.models import LabRecord
from datalabs_launcher.placement import TOKEN_NAME, token_mount
from datalabs_runtime.clock import Clock

ISSUER = "launcher"
AUDIENCE = "datalabs-lab"
"""No service takes a token of this audience for an identity assertion."""
LIFETIME_SECONDS = 3600
REFRESH_SECONDS = 1200
"""Files are refreshed three times in a token's life."""


class LabTokens:
    """Makes lab tokens and keeps them in a file that only the lab's user can read."""

    def __init__(self, *, key: ECKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._log = structlog.get_logger(__name__)

    @classmethod
    def read(cls, folder: Path, clock: Clock) -> "LabTokens":
        """Return what signs with the launcher's key of the identity folder."""
        return cls(key=ECKey.import_key((folder / f"{ISSUER}.key").read_text()), clock=clock)

    def token(self, record: LabRecord) -> str:
        """Return a fresh token of the record's attempt."""
        now = int(self._clock.now().timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"lab:{record.id}",
            "lab": record.id,
            "attempt": record.attempt,
            "owner": record.owner,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
        }
        return jwt.encode({"alg": "ES256", "kid": ISSUER}, claims, self._key)

    async def put(self, record: LabRecord, mounts: Sequence[Mount]) -> bool:
        """Write or refresh the token's file in the lab's scratch; False when there is no such place."""
        mount = token_mount(mounts)
        if mount is None:
            return False
        try:
            await asyncio.to_thread(
                write_private, Path(mount.source), TOKEN_NAME, self.token(record), record.owner_uid
            )
        except OSError as error:
            self._log.warning("token.not_written", lab=record.id, reason=str(error))
            return False
        return True


def write_private(folder: Path, name: str, content: str, uid: int) -> None:
    """Write a file of mode 0600 that belongs to `uid`, whole or not at all.

    The folder is the lab's to write, so a link may lie in wait there under any name: the file is made under a fresh
    name, with O_EXCL and O_NOFOLLOW, relative to the opened folder, and renamed over whatever is there.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        draft = f"{name}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.open(draft, flags, 0o600, dir_fd=directory)
        try:
            os.write(file, content.encode())
            if os.geteuid() == 0:
                os.fchown(file, uid, uid)
        finally:
            os.close(file)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)
