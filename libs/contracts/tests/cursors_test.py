import pytest

from datalabs_contracts.cursors import decode_cursor, encode_cursor
from datalabs_contracts.problems import ProblemCode, ProblemError


def test_a_cursor_gives_its_key_back() -> None:
    cursor = encode_cursor("labs", 17, "straße")
    assert decode_cursor("labs", cursor, int, str) == [17, "straße"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "é",
        "%%%",
        "W10",
        encode_cursor("people", 1, "a"),
        encode_cursor("labs", 1),
        encode_cursor("labs", "1", "a"),
        encode_cursor("labs", True, "a"),
        encode_cursor("labs", 10**30, "a"),
        encode_cursor("labs", 1, "\0"),
    ],
)
def test_anything_else_is_an_invalid_cursor(cursor: str) -> None:
    with pytest.raises(ProblemError) as refusal:
        decode_cursor("labs", cursor, int, str)
    assert refusal.value.code is ProblemCode.INVALID_CURSOR
