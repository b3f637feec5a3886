"""Names of persons: spaces and compatibility forms folded, letters as given.

Case, order and titles stay: what a name should be is not known. A name such as "Null" is a name.
"""

from __future__ import annotations

import polars as pl

_INVISIBLE = r"[\p{Cc}\p{Cf}]"
_HAN_GAP = r"(\p{Han}) +(\p{Han})"


def person_names(expression: pl.Expr) -> pl.Expr:
    """Name in NFKC with single blanks and without invisible characters; null where nothing is left.

    A blank between two Han characters ("张 三") is layout and goes.
    """
    folded = (
        expression.str.normalize("NFKC")
        .str.replace_all(r"[\t\n\r]", " ")
        .str.replace_all(_INVISIBLE, "")
        .str.normalize("NFKC")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
        # Twice: a match takes both of its neighbours, so every second gap is left by the first pass.
        .str.replace_all(_HAN_GAP, "${1}${2}")
        .str.replace_all(_HAN_GAP, "${1}${2}")
    )
    return pl.when(folded != "").then(folded)
