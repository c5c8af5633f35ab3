"""The variables of a task as Nomad makes them: what it can read in `Env` is filled in, what a template brings is not."""

import re
from collections.abc import Callable, Mapping
from typing import Any

REFERENCE = re.compile(r"[$][{]([^{}]+)[}]")
OF_A_VARIABLE = re.compile(r'nomadVar "([^"]+)"')


def environment_of(
    task: Mapping[str, Any],
    *,
    attribute: Callable[[str], str | None],
    variable: Callable[[str], Mapping[str, str]],
    own: Mapping[str, str],
) -> dict[str, str]:
    """Return a task's variables; `own` are those that Nomad gives by itself, `variable` the items at a path.

    A reference that means nothing stays as it is written, and `$$` is no way out (both tried on a real agent).
    """
    named = {**own, **(task.get("Env") or {})}

    def _filled(match: re.Match[str]) -> str:
        name = match[1]
        value = named.get(name)
        if value is None and name.partition(".")[0] in {"attr", "node", "meta"}:
            value = attribute(name)
        return match[0] if value is None else value

    found = {name: REFERENCE.sub(_filled, value) for name, value in named.items()}
    for template in task.get("Templates") or []:
        if template.get("Envvars"):
            for path in OF_A_VARIABLE.findall(template["EmbeddedTmpl"]):
                found |= variable(path)
    return found
