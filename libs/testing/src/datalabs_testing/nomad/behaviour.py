"""What tasks do in the emulated cluster: nothing is run, each task behaves as its driver's settings or a test say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "us": 1e-6, "ns": 1e-9}
DURATION = re.compile(r"([0-9.]+)(ms|us|ns|s|m|h)")

KILLED, INTERRUPTED, TERMINATED = 9, 2, 15
SIGNALS = {"SIGINT": INTERRUPTED, "SIGTERM": TERMINATED, "SIGKILL": KILLED, "SIGHUP": 1, "SIGQUIT": 3}


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What one task does. Durations in seconds; `runs_for` None: until it is stopped.

    `exit_code` and `signal` are those of its own end. On a stop it ends after `stop_seconds`, by the signal that was
    sent unless `stop_code` says with what it exits; `ignores_stop` makes it wait for the kill. `says` are variables of
    which it tells the values, as Nomad has made them.
    """

    runs_for: float | None = None
    exit_code: int = 0
    signal: int = 0
    message: str = ""
    out_of_memory: bool = False
    lines: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    stop_seconds: float = 0.02
    stop_code: int | None = None
    ignores_stop: bool = False
    start_seconds: float | None = None
    start_error: str = ""
    invalid: str = ""
    cores: float = 0.05
    memory_mib: float = 32.0
    listens_after: float | None = 0.0


def seconds_of(text: object) -> float:
    """Return a duration such as `1m30s`, in seconds."""
    return sum(float(number) * SECONDS[unit] for number, unit in DURATION.findall(str(text)))


def started_in(driver: str) -> float:
    """Return how long a driver takes from the task's directory to `Started`: measured on one machine with local images."""
    return {"docker": 0.5, "qemu": 0.27, "raw_exec": 0.13, "exec": 0.15}.get(driver, 0.06)


def of_mock(config: Mapping[str, Any]) -> Behaviour:
    """Return what the mock driver makes of its settings; without `run_for` it exits at once."""
    text = str(config.get("stdout_string", ""))
    repeat = int(config.get("stdout_repeat", 0))
    return Behaviour(
        runs_for=seconds_of(config.get("run_for", "")),
        exit_code=int(config.get("exit_code", 0)),
        signal=int(config.get("exit_signal", 0)),
        message=str(config.get("exit_err_msg", "")),
        lines=tuple(text.splitlines()) * (repeat + 1),
        start_seconds=seconds_of(config.get("start_block_for", "")) + 0.06,
        start_error=str(config.get("start_error", "")),
        stop_code=0,
    )


NEEDED = {"docker": "image", "raw_exec": "command", "exec": "command", "qemu": "image_path"}
"""What a driver's settings must have."""


EXPRESSION = re.compile(r"(?<![$])[$][{]([^}]*)[}]?|(?<!%)%[{]([^}]*)[}]?")
REFERENCE = re.compile(r"[A-Za-z_][\w.-]*")


UNREAD = "Missing expression: Expected the start of an expression, but found the end of the file."


def misread(config: object) -> str:
    """Return why a driver's settings cannot be read as templates: what `${` opens must be a reference; `$${` opens nothing."""
    parts = config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ()
    wrong = any(misread(one) for one in parts)
    if isinstance(config, str):
        wrong = any(not REFERENCE.fullmatch(one[1] or "") for one in EXPRESSION.finditer(config))
    return f"2 errors occurred:\n\t* failed to parse config: \n\t* {UNREAD}\n\n" if wrong else ""


def of_task(task: Mapping[str, Any], images: Mapping[str, Behaviour] | None) -> Behaviour:
    """Return what a task does by its driver and settings. `images` None: every image is there."""
    config = task.get("Config") or {}
    driver = task["Driver"]
    if driver == "mock_driver":
        return of_mock(config)
    needed = NEEDED.get(driver, "")
    if needed and not config.get(needed):
        text = f'Missing required argument: The argument "{needed}" is required, but no definition was found.'
        return Behaviour(invalid=text)
    behaviour = Behaviour()
    if driver == "docker" and images is not None:
        behaviour = _of_image(str(config["image"]), images)
    if config.get("entrypoint") in (["/bin/true"], ["true"]):
        return replace(behaviour, runs_for=0.05, exit_code=0, signal=0)
    return behaviour


def _of_image(image: str, images: Mapping[str, Behaviour]) -> Behaviour:
    """Return what an image does; the tag `latest`, or none, is always pulled, and there is no registry."""
    if image in images and ":" in image and not image.endswith(":latest"):
        return images[image]
    said = "Error response from daemon: no registry can be reached"
    return Behaviour(start_error=f"Failed to pull `{image}`: {said}")


def is_prestart(task: Mapping[str, Any]) -> bool:
    """Return whether a task runs to its end before the others start."""
    life = task.get("Lifecycle") or {}
    return life.get("Hook") == "prestart" and not life.get("Sidecar")


def once(behaviour: Behaviour) -> Behaviour:
    """Return a behaviour of a task that is over soon, as those before the main one are."""
    return replace(behaviour, runs_for=0.05) if behaviour.runs_for is None else behaviour
