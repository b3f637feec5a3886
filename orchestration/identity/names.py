"""How alike two names are, as far as one can tell without asking.

Belongs here: comparing. Does not belong here: how a name is cleaned (``normalize.names``).
"""

from __future__ import annotations

import polars as pl

EQUAL, NEAR, FAR = "equal", "near", "far"
_MOST_EDITS = 2
_HAN = r"\p{Han}"


def compare_names(pairs: pl.DataFrame) -> pl.DataFrame:
    """Compare names of the same script.

    ``equal``: the same words, whatever case, blanks, punctuation and order. ``near``: could be a slip of the pen: one
    letter in a Chinese name, one in five to nine or two in more letters of any other (edits counted as
    Damerau-Levenshtein distance), or one name's words are part of the other's. ``far``: otherwise. Null: the two are
    in different scripts or one is empty, which says nothing.

    Args:
        pairs: ``a`` and ``b``, text; one row a pair.

    Returns:
        ``pairs`` with ``likeness``.
    """
    keyed = (
        pairs.select("a", "b")
        .unique()
        .with_columns(
            *(_key(side).alias(f"{side}_key") for side in "ab"),
            *(_words(side).alias(f"{side}_words") for side in "ab"),
            *(pl.col(side).str.contains(_HAN).alias(f"{side}_han") for side in "ab"),
        )
    )
    edits = [_edits(a, b) for a, b in keyed.select("a_key", "b_key").iter_rows()]
    letters = pl.min_horizontal(pl.col("a_key").str.len_chars(), pl.col("b_key").str.len_chars())
    allowed = pl.when("a_han").then(1).when(letters >= 10).then(2).when(letters >= 5).then(1).otherwise(0)
    shared = pl.col("a_words").list.set_intersection("b_words").list.len()
    fewest = pl.min_horizontal(pl.col("a_words").list.len(), pl.col("b_words").list.len())
    part_of = ~pl.col("a_han") & (shared >= 1) & (shared == fewest)
    likeness = (
        pl.when((pl.col("a_han") != pl.col("b_han")) | (letters == 0))
        .then(None)
        .when(pl.col("edits") == 0)
        .then(pl.lit(EQUAL))
        .when((pl.col("edits") <= allowed) | part_of)
        .then(pl.lit(NEAR))
        .otherwise(pl.lit(FAR))
    )
    compared = keyed.with_columns(pl.Series("edits", edits, dtype=pl.Int64)).select("a", "b", likeness=likeness)
    return pairs.join(compared, on=["a", "b"], how="left", maintain_order="left", nulls_equal=True)


def _edits(a: str, b: str) -> int:
    """Damerau-Levenshtein distance by optimal string alignment; 3 stands for everything above 2."""
    if a == b:
        return 0
    if abs(len(a) - len(b)) > _MOST_EDITS:
        return _MOST_EDITS + 1
    # Only cells within two of the diagonal can hold a distance of two or less; most pairs are told apart in a few rows.
    beyond = _MOST_EDITS + 1
    older: dict[int, int] = {}
    old = {j: j for j in range(_MOST_EDITS + 1)}
    for i, x in enumerate(a, start=1):
        new: dict[int, int] = {0: i} if i <= _MOST_EDITS else {}
        for j in range(max(1, i - _MOST_EDITS), min(len(b), i + _MOST_EDITS) + 1):
            y = b[j - 1]
            best = min(old.get(j, beyond) + 1, new.get(j - 1, beyond) + 1, old.get(j - 1, beyond) + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, older.get(j - 2, beyond) + 1)
            new[j] = best
        if min(new.values()) >= beyond and min(old.values()) >= beyond:
            return beyond
        older, old = old, new
    return min(old.get(len(b), beyond), beyond)


def _letters(side: str) -> pl.Expr:
    text = pl.col(side).fill_null("").str.normalize("NFKC").str.to_lowercase()
    return text.str.replace_all(r"['’`]", "")


def _words(side: str) -> pl.Expr:
    return _letters(side).str.extract_all(r"[\p{L}\p{N}]+").list.unique().list.sort()


def _key(side: str) -> pl.Expr:
    in_order = _letters(side).str.replace_all(r"[^\p{L}\p{N}]+", "")
    # Chinese names are one word; elsewhere family and given name come in either order.
    return pl.when(pl.col(side).str.contains(_HAN)).then(in_order).otherwise(_words(side).list.join(""))
