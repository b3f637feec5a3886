"""What happens to personal fields before they are written: drop, keyed hash, keep.

Does not belong here: which fields are personal (contracts) and erasure of a person later on.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

import polars as pl

from orchestration.settings import HMAC_KEY_VARIABLE
from orchestration.sources.errors import SourceError


def protect(frame: pl.DataFrame, actions: Mapping[str, str], key: bytes | None, name: str) -> pl.DataFrame:
    """Replace personal fields.

    Args:
        frame: Landed rows, source columns as text.
        actions: Column to ``drop`` (null), ``hmac`` (hex of HMAC-SHA-256 of the value without outer blanks, RFC
            2104) or ``keep``; columns that are not there are passed over.
        key: Key of the pseudonyms.
        name: ``source.stream``, for messages.

    Raises:
        SourceError: a field is to be hashed and no key is configured.
    """
    changed: list[pl.Series] = []
    for column, action in actions.items():
        if column not in frame.columns:
            continue
        if action == "drop":
            changed.append(pl.Series(column, [None] * frame.height, dtype=pl.String))
        elif action == "hmac":
            if key is None:
                raise SourceError(
                    f"{name}: field {column!r} is to be hashed, but no key is configured; set {HMAC_KEY_VARIABLE} to a "
                    "long random text and keep it: with another key the pseudonyms change"
                )
            changed.append(_hashed(frame[column], key))
    return frame.with_columns(changed) if changed else frame


def pseudonym(value: str, key: bytes) -> str:
    """Hex of HMAC-SHA-256 of ``value`` without outer blanks."""
    return hmac.new(key, value.strip().encode(), hashlib.sha256).hexdigest()


def _hashed(column: pl.Series, key: bytes) -> pl.Series:
    values = column.drop_nulls().unique().to_list()
    return column.replace_strict(
        values, [pseudonym(value, key) for value in values], default=None, return_dtype=pl.String
    )
