"""What does this machine allow? Tried, not guessed: a lab that does nothing is run at each level, the best first."""

import contextlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datalabs_launcher.local import cgroups, network
from datalabs_launcher.local.attempts import Attempt
from datalabs_launcher.local.config import Isolation
from datalabs_launcher.local.interpreter import Interpreter
from datalabs_launcher.local.shims import PROGRAM

_NOBODY = 65_534
_SECONDS = 20.0


def address_of(plan: network.Plan) -> str:
    """Return the address of labs that are only tried; no real lab gets it."""
    return str(plan.network.broadcast_address - 1)


@dataclass(frozen=True, kw_only=True)
class Means:
    """What labs get here: how they are kept apart, which control groups bound them, whether networks work."""

    isolation: Isolation
    groups: cgroups.Groups
    networks: bool
    reasons: tuple[str, ...] = ()
    """Why a better level does not work, for the operator's log."""


def find(
    folder: Path, interpreter: Interpreter, plan: network.Plan, *, wanted: Isolation | None, own_network: bool
) -> Means:
    """Try the levels, best first, and return the first that works; blocks for a tenth of a second each."""
    groups = cgroups.bases(f"datalabs-{plan.name}")
    reasons: list[str] = []
    networks = own_network and network.may_make_networks()
    levels = [wanted] if wanted else list(Isolation)
    for level in levels:
        if level is Isolation.NONE or (level is Isolation.ROOT and os.geteuid() != 0):
            continue
        for with_network in (True, False) if networks and level is Isolation.ROOT else (False,):
            for with_groups in (groups, {}) if groups else ({},):
                error = _try(folder, interpreter, plan, level, with_groups, with_network=with_network)
                if error is None:
                    return Means(
                        isolation=level, groups=with_groups, networks=with_network, reasons=tuple(reasons)
                    )
                reasons.append(f"{level.value}: {error}")
    usable = groups if groups and os.geteuid() == 0 else {}
    return Means(isolation=Isolation.NONE, groups=usable, networks=False, reasons=tuple(reasons))


def _try(
    folder: Path,
    interpreter: Interpreter,
    plan: network.Plan,
    level: Isolation,
    groups: cgroups.Groups,
    *,
    with_network: bool,
) -> str | None:
    """Return None when a lab of that level runs, else why not."""
    place = folder / ".probe"
    shutil.rmtree(place, ignore_errors=True)
    for name in ("root", "etc"):
        (place / name).mkdir(parents=True)
    uid = _NOBODY if level is Isolation.ROOT else os.geteuid()
    spec: dict[str, Any] = {
        "job": "probe",
        "argv": [str(interpreter.executable), "-I", "-S", "-c", "pass"],
        "env": {},
        "cwd": "/",
        "uid": uid,
        "gid": uid,
        "grace": 1.0,
        "isolation": level.value,
        "root": str(place / "root"),
        "settings": str(place / "etc"),
        "hostname": "probe",
        "tmp_mib": 8,
        "binds": [[source, target, "ro"] for source, target in interpreter.binds],
        "limits": {"memory_mib": 128, "pids": 16, "cores": 0.1},
        "cgroups": {name: f"{base}/probe" for name, base in groups.items()},
        "network": {
            "interface": plan.interface("probe"),
            "address": address_of(plan),
            "gateway": plan.api_address,
            "group": plan.group,
            "forward": False,
        }
        if with_network
        else None,
        "log_bytes": 65_536,
        "packages": {},
        "poke": None,
        "about": {},
    }
    (place / "spec.json").write_text(json.dumps(spec))
    try:
        done = subprocess.run(
            [interpreter.executable, "-I", "-S", "-E", PROGRAM, place],
            check=False,
            capture_output=True,
            text=True,
            env={},
            timeout=_SECONDS,
        )
        state = Attempt(place).state()
        if state.get("exit") == 0:
            return None
        with contextlib.suppress(OSError):
            return str(state.get("error") or (place / "log").read_text() or done.stderr).strip()[-500:]
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return "it did not start"
