"""How alike two names are, as far as one can tell without asking.

Belongs here: comparing. Does not belong here: how a name is cleaned (``normalize.names``).
"""

from __future__ import annotations

import duckdb
import polars as pl

EQUAL, NEAR, FAR = "equal", "near", "far"
_DISTANCE = """
    SELECT *, damerau_levenshtein(a_key, b_key) AS edits, least(length(a_key), length(b_key)) AS letters FROM keyed
"""


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
            *(pl.col(side).str.contains(r"\p{Han}").alias(f"{side}_han") for side in "ab"),
        )
    )
    with duckdb.connect() as connection:
        connection.register("keyed", keyed.to_arrow())
        measured = connection.execute(_DISTANCE).pl()
    allowed = pl.when("a_han").then(1).when(pl.col("letters") >= 10).then(2).when(pl.col("letters") >= 5).then(1)
    shared = pl.col("a_words").list.set_intersection("b_words").list.len()
    part_of = (
        ~pl.col("a_han")
        & (shared >= 1)
        & (shared == pl.min_horizontal(pl.col("a_words").list.len(), pl.col("b_words").list.len()))
    )
    likeness = (
        pl.when((pl.col("a_han") != pl.col("b_han")) | (pl.col("letters") == 0))
        .then(None)
        .when(pl.col("edits") == 0)
        .then(pl.lit(EQUAL))
        .when((pl.col("edits") <= allowed.otherwise(0)) | part_of)
        .then(pl.lit(NEAR))
        .otherwise(pl.lit(FAR))
    )
    compared = measured.select("a", "b", likeness=likeness)
    return pairs.join(compared, on=["a", "b"], how="left", maintain_order="left", nulls_equal=True)


def _letters(side: str) -> pl.Expr:
    return pl.col(side).fill_null("").str.normalize("NFKC").str.to_lowercase()


def _words(side: str) -> pl.Expr:
    return _letters(side).str.extract_all(r"[\p{L}\p{N}]+").list.unique().list.sort()


def _key(side: str) -> pl.Expr:
    in_order = _letters(side).str.replace_all(r"[^\p{L}\p{N}]+", "")
    # Chinese names are one word; elsewhere family and given name come in either order.
    return pl.when(pl.col(side).str.contains(r"\p{Han}")).then(in_order).otherwise(_words(side).list.join(""))
