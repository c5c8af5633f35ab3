"""The `filter` expressions of lists, as far as anybody here sends them: comparisons joined by `and`, `or`, `not`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Mapping[str, Any]], bool]
TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<word>\(|\)|==|!=|[^\s()"=!]+))""",
)


class FilterError(Exception):
    """An expression that cannot be read, or a field that there is not."""


def parsed(expression: str) -> Test:
    """Return the test that an expression is. Raises `FilterError`."""
    tokens = _tokens(expression)
    test, rest = _either(tokens)
    if rest:
        raise FilterError(f"failed to read filter expression: no match found at {rest[0]!r}")
    return test


def _tokens(expression: str) -> list[str]:
    found: list[str] = []
    place = 0
    expression = expression.strip()
    while place < len(expression):
        match = TOKEN.match(expression, place)
        if match is None:
            raise FilterError(f"failed to read filter expression: 1:{place + 1}: no match found")
        found.append(match["text"] or match["word"])
        place = match.end()
    return found


def _either(tokens: list[str]) -> tuple[Test, list[str]]:
    left, rest = _both(tokens)
    while rest and rest[0] == "or":
        right, rest = _both(rest[1:])
        left = _join(left, right, any)
    return left, rest


def _both(tokens: list[str]) -> tuple[Test, list[str]]:
    left, rest = _one(tokens)
    while rest and rest[0] == "and":
        right, rest = _one(rest[1:])
        left = _join(left, right, all)
    return left, rest


def _join(left: Test, right: Test, how: Callable[[list[bool]], bool]) -> Test:
    return lambda thing: how([left(thing), right(thing)])


def _one(tokens: list[str]) -> tuple[Test, list[str]]:
    if not tokens:
        raise FilterError("failed to read filter expression: it ends too early")
    if tokens[0] == "not":
        test, rest = _one(tokens[1:])
        return (lambda thing: not test(thing)), rest
    if tokens[0] == "(":
        test, rest = _either(tokens[1:])
        if not rest or rest[0] != ")":
            raise FilterError("failed to read filter expression: a bracket is not closed")
        return test, rest[1:]
    return _comparison(tokens)


def _comparison(tokens: list[str]) -> tuple[Test, list[str]]:
    words = [*tokens[:5], *[""] * 5]
    if words[1] == "is" and words[2] == "not" and words[3] == "empty":
        return (lambda thing: bool(_field(thing, words[0]))), tokens[4:]
    if words[1] == "is" and words[2] == "empty":
        return (lambda thing: not _field(thing, words[0])), tokens[3:]
    if words[1] in {"in", "not"}:
        plain = words[1] == "in"
        name, rest = (words[2], tokens[3:]) if plain else (words[3], tokens[4:])
        wanted = _value(words[0])
        return (lambda thing: (wanted in (_field(thing, name) or ())) is plain), rest
    if not words[2]:
        raise FilterError("failed to read filter expression: no match found at its end")
    wanted = _value(words[2])
    compare: dict[str, Callable[[Any], bool]] = {
        "==": lambda found: _text(found) == wanted,
        "!=": lambda found: _text(found) != wanted,
        "contains": lambda found: wanted in (found or ""),
        "matches": lambda found: re.search(wanted, _text(found)) is not None,
    }
    if words[1] not in compare:
        raise FilterError(f"failed to read filter expression: no match found at {words[1]!r}")
    test = compare[words[1]]
    return (lambda thing: test(_field(thing, words[0]))), tokens[3:]


def _value(token: str) -> str:
    return token[1:-1].replace('\\"', '"') if token[:1] in {'"', "`"} else token


def _text(found: Any) -> str:
    if isinstance(found, bool):
        return str(found).lower()
    return "" if found is None else str(found)


def _field(thing: Any, name: str) -> Any:
    for part in name.split("."):
        if isinstance(thing, Mapping):
            if part not in thing and part[:1].isupper() and part != "Meta":
                raise FilterError(
                    f"error finding value in datum: /{name.replace('.', '/')} at part 0: "
                    f'couldn\'t find key: struct field with name "{part}"'
                )
            thing = thing.get(part)
        else:
            return None
    return thing
