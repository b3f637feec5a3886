"""What happens to personal fields before they are written: drop, keyed hash, keep.

Does not belong here: which fields are personal (contracts) and erasure of a person later on.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from orchestration.pseudonym import pseudonyms
from orchestration.settings import HMAC_KEY_VARIABLE
from orchestration.sources.errors import SourceError

NAMESPACE = "field"
"""One for all fields of all sources, so that a key and a reference to it have the same pseudonym."""


def protect(frame: pl.DataFrame, actions: Mapping[str, str], key: bytes | None, name: str) -> pl.DataFrame:
    """Replace personal fields.

    Args:
        frame: Landed rows, source columns as text.
        actions: Column to ``drop`` (null), ``hmac`` (the pseudonym of the value without outer blanks) or
            ``keep``; columns that are not there are passed over.
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
            changed.append(pseudonyms(NAMESPACE, frame[column].str.strip_chars(), key).alias(column))
    return frame.with_columns(changed) if changed else frame
