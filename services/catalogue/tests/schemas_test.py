from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from datalabs_catalogue.schemas import faults, problems_of, with_defaults

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["target", "band"],
    "properties": {
        "target": {"type": "string", "minLength": 1},
        "band": {"enum": ["L", "C"]},
        "years": {"type": "number", "default": 3, "minimum": 0},
        "plot": {
            "type": "object",
            "properties": {"dark": {"type": "boolean", "default": True}},
            "default": {},
        },
        "a/b~c": {"type": "integer"},
    },
}


def test_defaults_are_filled_and_what_was_given_stays() -> None:
    filled = with_defaults(SCHEMA, {"target": "M31", "plot": {"dark": False}})
    assert filled == {"target": "M31", "years": 3, "plot": {"dark": False}}
    assert with_defaults(SCHEMA, {})["plot"] == {"dark": True}


def test_problems_have_pointers() -> None:
    found = problems_of(SCHEMA, {"years": -1, "extra": 1, "a/b~c": "x", "plot": {"dark": 3}})
    assert {problem.pointer for problem in found} == {
        "/parameters/target",
        "/parameters/band",
        "/parameters/years",
        "/parameters/extra",
        "/parameters/a~1b~0c",
        "/parameters/plot/dark",
    }


def test_a_version_without_parameters_takes_none() -> None:
    assert problems_of({}, {}) == []
    assert problems_of({}, {"x": 1})[0].pointer == "/parameters/x"


def test_good_and_bad_schemas() -> None:
    assert faults({}) == []
    assert faults(SCHEMA) == []
    assert faults({"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}, "required": ["a"]}) == []
    assert faults({"type": "string"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["target", "band", "years", "plot", "x"]), JSON))
def test_parameters_either_fit_or_are_told_where_not(given_parameters: dict[str, Any]) -> None:
    filled = with_defaults(SCHEMA, given_parameters)
    problems = problems_of(SCHEMA, filled)
    fits = (
        isinstance(filled.get("target"), str)
        and filled["target"] != ""
        and filled.get("band") in ("L", "C")
        and "x" not in filled
        and not isinstance(filled["years"], bool)
        and isinstance(filled["years"], int)
        and filled["years"] >= 0
        and isinstance(filled["plot"], dict)
        and isinstance(filled["plot"].get("dark"), bool)
    )
    assert fits == (not problems) or (problems and filled.keys() & {"plot"})
    assert all(problem.pointer.startswith("/parameters") for problem in problems)
    assert with_defaults(SCHEMA, filled) == filled
