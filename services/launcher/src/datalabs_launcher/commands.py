"""Fill the fields of a datalab's command, environment and paths: pure text work, no shell, one pass."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FIELD = re.compile(
    r"\{(?:(?P<name>port|address|lab_id|home|scratch|data|source|origin|host|python|environment|packages)|parameters\[(?P<parameter>[^\[\]{}]+)\])\}"
)
"""Only the documented fields are fields; any other brace is the author's own text (JSON, shell, format strings)."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The values of the fields that contracts' `ProcessRuntime` documents, as the lab itself sees them."""

    port: int
    address: str
    lab_id: str
    home: str
    scratch: str
    data: str
    source: str
    origin: str
    python: str = ""
    environment: str = ""
    packages: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The host name of the lab's origin, without scheme and port."""
        return self.origin.split("://", 1)[-1].rsplit(":", 1)[0]

    def value(self, name: str) -> str:
        """Return one named field as text."""
        return str(getattr(self, name))

    def parameter(self, name: str) -> str:
        """Return a parameter as text: booleans as `true`/`false`, an unknown one as nothing."""
        value = self.parameters.get(name, "")
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)


def fill(text: str, fields: Fields) -> str:
    """Return the text with its fields filled; what a parameter contains is never read as a field again."""

    def _of(match: re.Match[str]) -> str:
        name = match.group("name")
        return fields.value(name) if name else fields.parameter(match.group("parameter"))

    return FIELD.sub(_of, text)


def fill_command(command: Sequence[str], fields: Fields) -> list[str]:
    """Return the argument list filled; one argument stays one argument, whatever a parameter holds."""
    return [fill(argument, fields) for argument in command]


def fill_environment(environment: Mapping[str, str], fields: Fields) -> dict[str, str]:
    """Return the environment with its values filled."""
    return {name: fill(value, fields) for name, value in environment.items()}
