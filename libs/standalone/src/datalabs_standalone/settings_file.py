"""`datalabs.toml`: written once with every setting described, changed later line by line so that edits stay."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalabs_standalone.failures import SettingsError

if TYPE_CHECKING:
    from datalabs_runtime.settings import Settings

Values = Mapping[str, Mapping[str, object]]
"""Values by section and name; a section may be a dotted one, such as `nats.passwords`."""

_HEADER = """\
# Settings of this Open Datalabs. Written at the first start; your changes stay.
# A line that begins with '#' shows a default: remove the '#' to change it, then start the platform again.
# The environment wins over this file: DATALABS_<SECTION>_<NAME>. `datalabs config` shows what holds and why.
# This file holds passwords: keep it to yourself (mode 0600).
"""


def compose(values: Values, described: "Sequence[type[Settings]]") -> str:
    """Return the text of a new settings file: all described fields, those of `values` set, the others as defaults."""
    blocks = [_HEADER]
    known = list(dict.fromkeys(cls.section for cls in described))
    for section in known:
        # A service and its adapters share a section; a table stands once in TOML.
        sharing = [cls for cls in described if cls.section == section]
        blocks.extend(_block(cls, values.get(section, {}), head=cls is sharing[0]) for cls in sharing)
        blocks.extend(
            _table(name, fields) for name, fields in values.items() if name.startswith(f"{section}.")
        )
    rest = [name for name in values if name.partition(".")[0] not in known]
    blocks.extend(_table(name, values[name]) for name in rest)
    return "\n".join(blocks)


def _block(cls: "type[Settings]", values: Mapping[str, object], *, head: bool) -> str:
    intent = (cls.__doc__ or "").strip().splitlines()[0]
    lines = [f"# {intent}", *([f"[{cls.section}]"] if head else [])]
    for name, field in cls.model_fields.items():
        lines.append(f"# {field.description}")
        if name in values:
            lines.append(f"{name} = {_toml(values[name])}")
            continue
        text = "" if field.is_required() else _toml_or_nothing(field.get_default(call_default_factory=True))
        lines.append(f"# {name} = {text}".rstrip())
    return "\n".join([*lines, ""])


def _table(name: str, fields: Mapping[str, object]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in fields.items()), ""])


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case timedelta():
            return repr(value.total_seconds())
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case list() | tuple():
            return "[" + ", ".join(_toml(one) for one in value) + "]"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")


def _toml_or_nothing(value: object) -> str:
    try:
        return _toml(value)
    except TypeError:
        return ""


def with_value(text: str, section: str, name: str, value: object) -> str:
    """Return the text with one value set: in place where it stands, else at the section's head; nothing else changes."""
    line = f"{name} = {_toml(value)}"
    head = re.search(rf"^\[{re.escape(section)}\][^\n]*\n?", text, re.MULTILINE)
    if head is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}\n[{section}]\n{line}\n"
    following = re.search(r"^\[", text[head.end() :], re.MULTILINE)
    end = head.end() + following.start() if following else len(text)
    body = text[head.end() : end]
    for pattern in (rf"^{re.escape(name)}\s*=.*$", rf"^#\s*{re.escape(name)}\s*=.*$"):
        found = re.search(pattern, body, re.MULTILINE)
        if found:
            body = body[: found.start()] + line + body[found.end() :]
            break
    else:
        body = f"{line}\n{body}"
    return text[: head.end()] + body + text[end:]


def read(file: Path) -> dict[str, Any]:
    """Return the content.

    Raises `SettingsError` when it is not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from error
