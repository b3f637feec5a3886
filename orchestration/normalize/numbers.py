"""Text to integers, numbers, money, currencies and booleans.

Read: ``1234.5``, ``1,234.5`` (thousands in threes), ``1 234.5``, ``1.2e3``, a sign in front, a currency sign or
code at either end, ``(1,234.50)`` for a negative amount. The decimal mark is the full stop unless the mapping's
``format`` shows another, as in ``"1.234,56"``. ``12,34`` is not guessed at: it is refused. NaN and infinity are no
values.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Literal

import polars as pl

from orchestration.normalize.batches import VALUE, by_batch, outcome, outcome_type, per_value, refused
from orchestration.normalize.code_tables import CURRENCIES

INVALID_NUMBER = "invalid_number"
INVALID_MONEY = "invalid_money"
INVALID_INTEGER = "invalid_integer"
INVALID_BOOLEAN = "invalid_boolean"
INVALID_CURRENCY = "invalid_currency"
NOT_INTEGER = "not_integer"
OUT_OF_RANGE = "out_of_range"

MONEY = pl.Decimal(18, 4)

_SIGNS = r"[¥$€£₩₹元円]|US\$|HK\$|A\$|C\$|R\$|[A-Z]{3}"
_PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$"
_GROUPED = r"^[+-]?\d{1,3}(?:[, ]\d{3})+(?:\.\d*)?$"

_TRUE = ("true", "t", "yes", "y", "1", "on", "是", "对", "有", "真")
_FALSE = ("false", "f", "no", "n", "0", "off", "否", "不", "无", "假")

_CURRENCY_NAMES = {
    "RMB": "CNY",
    "CNH": "CNY",
    "人民币": "CNY",
    "人民幣": "CNY",
    "元": "CNY",
    "YUAN": "CNY",
    "RENMINBI": "CNY",
    "US$": "USD",
    "美元": "USD",
    "US DOLLAR": "USD",
    "US DOLLARS": "USD",
    "€": "EUR",
    "EURO": "EUR",
    "EUROS": "EUR",
    "欧元": "EUR",
    "£": "GBP",
    "英镑": "GBP",
    "日元": "JPY",
    "円": "JPY",
    "HK$": "HKD",
    "港币": "HKD",
    "港元": "HKD",
    "₩": "KRW",
    "₹": "INR",
    "R$": "BRL",
}
_SIGN_BY_REGION = {("¥", "CN"): "CNY", ("¥", "JP"): "JPY", ("$", "US"): "USD", ("$", "CA"): "CAD", ("$", "AU"): "AUD"}
"""Signs that several countries share mean a currency only with the mapping's ``region``."""


def _is_decimal_comma(template: str | None) -> bool:
    """True where ``template`` ends in a comma with digits behind, as ``1.234,56`` does."""
    return template is not None and template.rfind(",") > template.rfind(".")


def _bare_numbers(text: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Numbers in the form a cast reads, null where the text is none."""
    value = pl.col("text")
    bare = (
        value.str.normalize("NFKC")
        .str.replace_all(r"[\u{2212}\u{2013}]", "-")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
        .str.replace(r"^\((.*)\)$", "-${1}")
        .str.replace(rf"^([+-]?) ?(?:{_SIGNS}) ?", "${1}")
        .str.replace(rf" ?(?:{_SIGNS})$", "")
    )
    if decimal_comma:
        bare = (
            bare.str.replace_all(",", "\u0001", literal=True)
            .str.replace_all(".", ",", literal=True)
            .str.replace_all("\u0001", ".", literal=True)
        )
    frame = pl.DataFrame({"text": text}).select(text=bare)
    return frame.select(
        pl.when(value.str.contains(_PLAIN))
        .then(value)
        .when(value.str.contains(_GROUPED))
        .then(value.str.replace_all(r"[, ]", ""))
    ).to_series()


def _cast(text: pl.Series, dtype: pl.DataType, *, decimal_comma: bool) -> pl.Series:
    """``text`` cast, the plain ones at once and the rest after they were made bare."""
    fast = pl.repeat(None, len(text), dtype=dtype, eager=True) if decimal_comma else text.cast(dtype, strict=False)
    if dtype.is_float():
        fast = pl.DataFrame({VALUE: fast}).select(pl.when(pl.col(VALUE).is_finite()).then(pl.col(VALUE))).to_series()
    left = (fast.is_null() & text.is_not_null()).arg_true()
    if len(left) == 0:
        return fast
    slow = _bare_numbers(text.gather(left), decimal_comma=decimal_comma).cast(dtype, strict=False)
    if dtype.is_float():
        slow = pl.DataFrame({VALUE: slow}).select(pl.when(pl.col(VALUE).is_finite()).then(pl.col(VALUE))).to_series()
    merged = pl.DataFrame({"at": left, "slow": slow})
    frame = pl.DataFrame({"fast": fast}).with_row_index("at")
    return (
        frame.join(merged, on="at", how="left", maintain_order="left").select(pl.coalesce("fast", "slow")).to_series()
    )


def read_numbers(
    text: pl.Series,
    *,
    dtype: pl.DataType,
    reason: str,
    template: str | None = None,
    percent: Literal["pct", "share"] | None = None,
) -> pl.Series:
    """A batch of texts to ``{value, reason}``.

    Args:
        text: Texts without outer blanks; null stays null.
        dtype: ``Float64`` or ``Decimal``; a decimal is rounded half to even to its places.
        reason: Reason of a text that is no number.
        template: A number as the source writes it, showing its decimal mark.
        percent: What a percent sign means: ``pct`` 45 % is 45, ``share`` 45 % is 0.45; None refuses it.
    """
    decimal_comma = _is_decimal_comma(template)
    if percent is None:
        value = _cast(text, dtype, decimal_comma=decimal_comma)
    else:
        frame = pl.DataFrame({"text": text})
        bare = frame.select(pl.col("text").str.replace(r"\s*[%％]$", "")).to_series()
        read = _cast(bare, dtype, decimal_comma=decimal_comma)
        scale = 0.01 if percent == "share" else 1.0
        is_percent = pl.col("text").str.contains(r"[%％]$")
        value = (
            pl.DataFrame({"text": text, VALUE: read})
            .select(pl.when(is_percent).then(pl.col(VALUE) * scale).otherwise(pl.col(VALUE)))
            .to_series()
            .cast(dtype)
        )
    return outcome(value, refused(text, value, reason))


def read_integers(text: pl.Series, *, template: str | None = None) -> pl.Series:
    """A batch of texts to ``{value: Int64, reason}``; ``3.0`` is 3, ``3.5`` is ``not_integer``."""
    fast = text.cast(pl.Int64(), strict=False)
    if fast.null_count() == text.null_count():
        return outcome(fast)
    number = _cast(text, pl.Float64(), decimal_comma=_is_decimal_comma(template))
    frame = pl.DataFrame({"text": text, "fast": fast, "number": number})
    # Whole numbers beyond 2^53 that came as 1e16 or 9007199254740993.0 cannot be told exactly from a double.
    is_whole = (pl.col("number") == pl.col("number").round()) & (pl.col("number").abs() <= 2**53)
    read = frame.select(
        pl.coalesce(pl.col("fast"), pl.when(is_whole).then(pl.col("number")).cast(pl.Int64(), strict=False)).alias(
            VALUE
        ),
        pl.when(pl.col("text").is_null() | pl.col("fast").is_not_null() | is_whole)
        .then(None)
        .when(pl.col("number").is_not_null() & (pl.col("number") != pl.col("number").round()))
        .then(pl.lit(NOT_INTEGER))
        .when(pl.col("number").is_null() | ~is_whole)
        .then(pl.lit(INVALID_INTEGER))
        .alias("reason"),
    )
    return outcome(read.get_column(VALUE), read.get_column("reason"))


def read_booleans(text: pl.Series) -> pl.Series:
    """A batch of texts to ``{value: Boolean, reason}``: true/false, yes/no, y/n, 1/0, on/off, 是/否."""
    lower = text.str.to_lowercase()
    value = lower.replace_strict(
        [*_TRUE, *_FALSE], [*[True] * len(_TRUE), *[False] * len(_FALSE)], default=None, return_dtype=pl.Boolean()
    )
    return outcome(value, refused(text, value, INVALID_BOOLEAN))


@cache
def currency_codes() -> frozenset[str]:
    """ISO 4217 codes of the currencies in use."""
    return frozenset(CURRENCIES.split())


def read_currency(text: str, region: str | None = None) -> tuple[str | None, str | None]:
    """A code, sign or name of a currency to ISO 4217, or None and the reason.

    Args:
        text: Code, sign or name.
        region: ISO 3166-1 alpha-2; decides what ``¥`` and ``$`` mean, which alone are refused.
    """
    name = text.strip().upper().replace("￥", "¥").replace("＄", "$")
    code = name if name in currency_codes() else _CURRENCY_NAMES.get(name) or _SIGN_BY_REGION.get((name, region or ""))
    return (code, None) if code else (None, INVALID_CURRENCY)


def integers(expression: pl.Expr, template: str | None = None) -> pl.Expr:
    """``read_integers`` as an expression."""
    return by_batch(expression, partial(read_integers, template=template), outcome_type(pl.Int64()))


def numbers(
    expression: pl.Expr, template: str | None = None, percent: Literal["pct", "share"] | None = None
) -> pl.Expr:
    """Text to ``{value: Float64, reason}``; see ``read_numbers``."""
    read = partial(read_numbers, dtype=pl.Float64(), reason=INVALID_NUMBER, template=template, percent=percent)
    return by_batch(expression, read, outcome_type(pl.Float64()))


def money(expression: pl.Expr, template: str | None = None) -> pl.Expr:
    """Text to ``{value: Decimal(18, 4), reason}``; see ``read_numbers``."""
    read = partial(read_numbers, dtype=MONEY, reason=INVALID_MONEY, template=template)
    return by_batch(expression, read, outcome_type(MONEY))


def booleans(expression: pl.Expr) -> pl.Expr:
    """``read_booleans`` as an expression."""
    return by_batch(expression, read_booleans, outcome_type(pl.Boolean()))


def currencies(expression: pl.Expr, region: str | None = None) -> pl.Expr:
    """Text to ``{value: ISO 4217, reason}``, each distinct value once."""
    return by_batch(expression, per_value(partial(read_currency, region=region)), outcome_type(pl.String()))


def within_bounds(read: pl.Expr, minimum: float | None, maximum: float | None) -> pl.Expr:
    """A struct ``{value, reason}`` whose value outside the bounds (inclusive) becomes null, ``out_of_range``."""
    value = read.struct.field(VALUE)
    outside = pl.lit(value=False)
    if minimum is not None:
        outside = outside | (value < minimum)
    if maximum is not None:
        outside = outside | (value > maximum)
    outside = outside.fill_null(value=False)
    return pl.struct(
        pl.when(~outside).then(value).alias(VALUE),
        pl.when(outside).then(pl.lit(OUT_OF_RANGE)).otherwise(read.struct.field("reason")).alias("reason"),
    )
