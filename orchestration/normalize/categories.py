"""Categories with a closed list of values, and names in snake_case.

A category without a list stays as the source names it; only a mapping's ``map`` changes it.
"""

from __future__ import annotations

import json
from functools import partial

import polars as pl

from orchestration.normalize.batches import by_batch, outcome, outcome_type, over_distinct, per_value, refused

INVALID_CATEGORY = "invalid_category"
INVALID_JSON = "invalid_json"


@over_distinct
def _snake_case(text: pl.Series) -> pl.Series:
    return (
        text.str.normalize("NFKC")
        .str.replace_all(r"(\p{Ll}|\p{N})(\p{Lu})", "${1}_${2}")
        .str.to_lowercase()
        .str.replace_all(r"[^\p{L}\p{N}]+", "_")
        .str.strip_chars("_")
    )


def snake_case(expression: pl.Expr) -> pl.Expr:
    """``Page View``, ``pageView`` and ``page-view`` as ``page_view``; null where nothing is left."""
    name = by_batch(expression, _snake_case, pl.String())
    return pl.when(name != "").then(name)


def _listed(text: pl.Series, values: tuple[str, ...]) -> pl.Series:
    name = _snake_case(text)
    listed = name.replace_strict(list(values), list(values), default=None, return_dtype=pl.String())
    return outcome(listed, refused(text, listed, INVALID_CATEGORY))


def listed_categories(expression: pl.Expr, values: tuple[str, ...]) -> pl.Expr:
    """Text to ``{value: one of values, reason}``; case, blanks and hyphens do not matter."""
    return by_batch(expression, over_distinct(partial(_listed, values=values)), outcome_type(pl.String()))


def _read_json(text: str) -> tuple[str | None, str | None]:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None, INVALID_JSON
    return text, None


def json_texts(expression: pl.Expr) -> pl.Expr:
    """Text to ``{value: the text where it is JSON, reason}``."""
    return by_batch(expression, per_value(_read_json), outcome_type(pl.String()))
