"""How a function over a batch of values becomes an expression, and how work is done once a distinct value.

Belongs here: the plumbing that the modules of one kind share. Does not belong here: any rule about a kind.

Every normaliser gives a struct ``{value, reason}``. ``reason`` null: the value was read. ``reason`` set and
``value`` null: it could not be read. Both set: it was read, and the reason is a note (``ambiguous_local_time``).
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

VALUE = "value"
REASON = "reason"


def outcome_type(value_type: pl.DataType) -> pl.Struct:
    """The struct type of a normaliser whose values are of ``value_type``."""
    return pl.Struct({VALUE: value_type, REASON: pl.String()})


def outcome(value: pl.Series, reason: pl.Series | None = None) -> pl.Series:
    """``value`` and ``reason`` as one struct series of the same length."""
    if reason is None:
        reason = pl.repeat(None, len(value), dtype=pl.String(), eager=True)
    return pl.DataFrame({VALUE: value, REASON: reason.cast(pl.String())}).to_struct(VALUE)


def refused(text: pl.Series, value: pl.Series, reason: str) -> pl.Series:
    """``reason`` wherever ``text`` holds something and ``value`` does not, null elsewhere."""
    frame = pl.DataFrame({"text": text, VALUE: value})
    bad = pl.col("text").is_not_null() & pl.col(VALUE).is_null()
    return frame.select(pl.when(bad).then(pl.lit(reason)).alias(REASON)).to_series()


def by_batch(expression: pl.Expr, function: Callable[[pl.Series], pl.Series], dtype: pl.DataType) -> pl.Expr:
    """``function`` over each batch of ``expression``; row by row, so the engine may cut batches as it likes."""

    def guarded(series: pl.Series) -> pl.Series:
        if series.null_count() == len(series):
            return pl.repeat(None, len(series), dtype=dtype, eager=True)
        return function(series)

    return expression.cast(pl.String()).map_batches(guarded, return_dtype=dtype, is_elementwise=True)


_NULL_TOKENS = ("", "\\N")
_OUTER = "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace()) + "\x00\ufeff"
"""Blanks of any script, the NUL that fixed-width columns are padded with, and the byte-order mark."""


def _cleaned(text: pl.Series) -> pl.Series:
    """Most columns need nothing done: seeing so costs a third of stripping, and keeps the strings shared."""
    ends = pl.DataFrame({"text": text}).select(
        is_bare=(
            pl.col("text").cast(pl.Binary()).bin.get(0, null_on_oob=True).is_between(0x21, 0x7F)
            & pl.col("text").cast(pl.Binary()).bin.get(-1, null_on_oob=True).is_between(0x21, 0x7F)
            & (pl.col("text") != "\\N")
        )
        | pl.col("text").is_null()
    )
    if ends.get_column("is_bare").fill_null(value=False).all():
        return text
    stripped = text.str.strip_chars(_OUTER)
    frame = pl.DataFrame({"text": stripped})
    return frame.select(pl.when(~pl.col("text").is_in(list(_NULL_TOKENS))).then(pl.col("text"))).to_series()


def cleaned(expression: pl.Expr) -> pl.Expr:
    r"""Text without outer blanks; null where nothing is left or where it is ``\N``."""
    return by_batch(expression, _cleaned, pl.String())


def notes(reasons: dict[str, pl.Expr]) -> pl.Expr:
    """``name:reason`` of each reason that is there, joined by ``|``; null where there is none.

    Args:
        reasons: Text expressions by name; the order is kept.
    """

    def joined(batch: pl.Series) -> pl.Series:
        frame = batch.struct.unnest()
        some = [name for name in frame.columns if frame.get_column(name).null_count() < len(frame)]
        if not some:
            return pl.repeat(None, len(frame), dtype=pl.String(), eager=True)
        texts = [pl.concat_str([pl.lit(f"{name}:"), pl.col(name)]) for name in some]
        noted = frame.select(noted=pl.concat_str(texts, separator="|", ignore_nulls=True))
        return noted.select(pl.when(pl.col("noted") != "").then(pl.col("noted"))).to_series()

    if not reasons:
        return pl.lit(None, dtype=pl.String())
    together = pl.struct(reason.alias(name) for name, reason in reasons.items())
    return together.map_batches(joined, return_dtype=pl.String(), is_elementwise=True)


def over_distinct(function: Callable[[pl.Series], pl.Series]) -> Callable[[pl.Series], pl.Series]:
    """Make a row-by-row ``function`` work on the distinct values of a batch and spread the result.

    Pays where values repeat (countries, user agents, page addresses) and where a library works per value
    (phones, OpenCC); a batch of mostly different values goes through directly.
    """

    def spread(series: pl.Series) -> pl.Series:
        distinct = series.unique()
        if 2 * len(distinct) > len(series):
            return function(series)
        result = function(distinct)
        if result.dtype == series.dtype and result.equals(distinct, null_equal=True):
            return series
        lookup = pl.DataFrame({"key": distinct, "result": result})
        frame = pl.DataFrame({"key": series})
        return frame.join(lookup, on="key", how="left", nulls_equal=True, maintain_order="left").get_column("result")

    return spread


def per_value(
    function: Callable[[str], tuple[str | None, str | None]],
) -> Callable[[pl.Series], pl.Series]:
    """Make a Python function of one text a function of a batch that gives ``{value, reason}``.

    Called once a distinct value; for libraries that know no columns.
    """

    def batch(series: pl.Series) -> pl.Series:
        pairs = [(None, None) if text is None else function(text) for text in series.to_list()]
        value = pl.Series([pair[0] for pair in pairs], dtype=pl.String())
        reason = pl.Series([pair[1] for pair in pairs], dtype=pl.String())
        return outcome(value, reason)

    return over_distinct(batch)
