"""Words as the search sees them: folded, split the same way in entries and questions; and the nearest known ones.

The embedded PostgreSQL has neither unaccent nor pg_trgm, so folding and near misses are done here.
"""

import re
import unicodedata
from collections.abc import Iterable

from rapidfuzz.distance import DamerauLevenshtein

MOST_WORDS = 12
"""More words of a question than these are left out."""
SHORTEST_CORRECTED = 3
"""Shorter words are near to too many others."""
NEAR_ENOUGH = 0.6
"""Similarity (1 is equal) from which a word is proposed; `jupter` and `jupyterlab` have 0.79 by the beginning."""
BEGINNING_WEIGHT = 0.95
"""A match with the beginning of a word counts a little less than one with the whole."""


def folded(text: str) -> str:
    """Return lower case without accents, anything but letters and digits as a space."""
    # Twice: decomposing makes capitals of some signs, and folding makes composed letters of others.
    plain = text
    for _ in range(2):
        plain = unicodedata.normalize("NFKD", plain).casefold()
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W_]+", bare))


def words_of(text: str) -> list[str]:
    """Return the folded words of a question, each once, in order."""
    return list(dict.fromkeys(folded(text).split()))[:MOST_WORDS]


def suggestion(words: Iterable[str], vocabulary: set[str]) -> str | None:
    """Return the question with unknown words replaced by the nearest known ones; nothing when none is near."""
    corrected: list[str] = []
    changed = False
    for word in words:
        if any(known.startswith(word) for known in vocabulary):
            corrected.append(word)
            continue
        nearest = _nearest(word, vocabulary)
        if nearest is None:
            return None
        corrected.append(nearest)
        changed = True
    return " ".join(corrected) if changed else None


def _nearest(word: str, vocabulary: set[str]) -> str | None:
    if len(word) < SHORTEST_CORRECTED:
        return None
    best = max(
        ((_similarity(word, known), known) for known in vocabulary if len(known) >= SHORTEST_CORRECTED),
        key=lambda pair: (pair[0], -len(pair[1]), pair[1]),
        default=(0.0, ""),
    )
    return best[1] if best[0] >= NEAR_ENOUGH else None


def _similarity(word: str, known: str) -> float:
    whole = DamerauLevenshtein.normalized_similarity(word, known)
    beginning = DamerauLevenshtein.normalized_similarity(word, known[: len(word) + 1])
    return float(max(whole, BEGINNING_WEIGHT * beginning))
