"""The seed: all that a machine is told about its person and its lab, as lines `word value`.

A guest without Python or cloud-init can read it; nothing in it is run as a command. It may hold secrets: it is handed over
as a file, never as an argument. Its reader is `images/vm/root/usr/lib/datalabs/begin`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datalabs_contracts.volumes import Mount
from datalabs_launcher.machines.arguments import Share

HOME = "/media/home"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[a-z_][a-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Who uses the machine, with what folders and what environment."""

    user: str
    uid: int
    hostname: str
    shares: Sequence[Share]
    environment: Mapping[str, str] = field(repr=False)

    def text(self) -> str:
        """Return the seed's lines.

        Raises `ValueError` for what cannot be said in lines.
        """
        if not _USER.fullmatch(self.user):
            raise ValueError(f"{self.user!r} cannot be the name of a user in a virtual machine")
        home = HOME if any(share.target == HOME for share in self.shares) else f"/home/{self.user}"
        lines = [
            f"user {self.user}",
            f"uid {self.uid}",
            f"hostname {self.hostname}",
            f"home {home}",
            *(
                f"mount {share.tag} {'ro' if share.read_only else 'rw'} {share.target}"
                for share in self.shares
            ),
            *(f"env {name}={value}" for name, value in sorted(self.environment.items())),
        ]
        for line in lines:
            if "\n" in line or "\0" in line:
                raise ValueError(
                    f"{line.split()[0]}: a value with a line break cannot reach a virtual machine"
                )
        for name in self.environment:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a variable")
        return "\n".join(lines) + "\n"


def shares_of(mounts: Sequence[Mount], *, sources: Mapping[str, str] | None = None) -> list[Share]:
    """Return the shares of a lab's mounts, parents first; `sources` gives where QEMU sees a target, if elsewhere."""
    ordered = sorted(mounts, key=lambda mount: mount.target)
    return [
        Share(
            tag=f"share{number}",
            source=(sources or {}).get(mount.target, mount.source),
            target=mount.target,
            read_only=mount.read_only,
        )
        for number, mount in enumerate(ordered)
    ]
