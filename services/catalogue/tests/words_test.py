from hypothesis import given
from hypothesis import strategies as st

from datalabs_catalogue.words import MOST_WORDS, folded, suggestion, words_of

VOCABULARY = {"jupyterlab", "radio", "galaxies", "rinex", "earth", "rotation"}


def test_folding_any_letter_of_the_usual_scripts_twice_changes_nothing() -> None:
    letters = [chr(number) for number in (*range(0x3000), *range(0xF900, 0x10000), *range(0x1D400, 0x1D800))]
    assert [letter for letter in letters if folded(folded(letter)) != folded(letter)] == []


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@given(st.text(max_size=200))
def test_words_are_few_and_safe_in_a_text_query(text: str) -> None:
    words = words_of(text)
    assert len(words) <= MOST_WORDS
    assert all(word.isalnum() for word in words)


def test_accents_case_and_signs_do_not_matter() -> None:
    assert folded("Él Niño — GAÍA/DR3") == "el nino gaia dr3"


def test_near_words_are_proposed() -> None:
    assert suggestion(["jupyterlb"], VOCABULARY) == "jupyterlab"
    assert suggestion(["jupiter"], VOCABULARY) == "jupyterlab"
    assert suggestion(["galxies"], VOCABULARY) == "galaxies"
    assert suggestion(["earth", "roattion"], VOCABULARY) == "earth rotation"


def test_nothing_is_proposed_for_known_or_foreign_words() -> None:
    assert suggestion(["rad"], VOCABULARY) is None
    assert suggestion(["qqqqqq"], VOCABULARY) is None
    assert suggestion(["x"], set()) is None
