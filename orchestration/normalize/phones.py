"""Phone numbers to E.164, by libphonenumber.

A number without country code needs the mapping's ``region``; no country is guessed.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache, partial

import phonenumbers
import polars as pl

from orchestration.normalize.batches import by_batch, outcome_type, per_value

INVALID_PHONE = "invalid_phone"
NO_REGION = "phone_without_region"
_END = 4
_FULL_WIDTH = "０１２３４５６７８９"


def read_phone(text: str, region: str | None = None) -> tuple[str | None, str | None]:
    """One number to E.164, or None and the reason.

    Args:
        text: Number as typed; an extension is dropped.
        region: ISO 3166-1 alpha-2 of the country whose national form and exit code apply.
    """
    international = "+" + text.lstrip()[2:] if region is None and text.lstrip().startswith("00") else text
    try:
        number = phonenumbers.parse(international, region)
    except phonenumbers.NumberParseException as error:
        missing = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and region is None
        return None, NO_REGION if missing and "+" not in international else INVALID_PHONE
    if not phonenumbers.is_valid_number(number):
        return None, INVALID_PHONE
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), None


@cache
def known_regions() -> frozenset[str]:
    """The regions that libphonenumber knows, as ISO 3166-1 alpha-2."""
    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def phones(expression: pl.Expr, region: str | None = None) -> pl.Expr:
    """Text to ``{value: E.164, reason}``, each distinct number once."""
    read = per_value(partial(read_phone, region=region))
    return by_batch(expression, read, outcome_type(pl.String()))


def may_be_one_of(expression: pl.Expr, numbers: Collection[str]) -> pl.Expr:
    """Whether a text may be read as one of some numbers (E.164): quick, and False only where ``read_phone`` differs.

    What a country makes of a number's front (prefixes, exit codes) leaves its last digits. A text with anything but
    digits, full-width ones too, and common separators may also end in an extension, or be written in letters or digits
    of another script: that one may be any number. A text without any of these is none.
    """
    ends = sorted({number[-_END:] for number in numbers})
    plain = rf"^\+?[0-9{_FULL_WIDTH} ().\-]*$"
    digits = by_batch(expression, _digits, pl.String())
    may_end = digits.str.slice(-_END).is_in(ends) | digits.str.len_bytes().is_between(1, _END - 1)
    return ~expression.str.contains(plain) | may_end


def _digits(texts: pl.Series) -> pl.Series:
    """Digits of each text, full-width ones as ASCII."""
    digits = texts.str.replace_all(rf"[^0-9{_FULL_WIDTH}]", "")
    if digits.str.len_bytes().sum() == digits.str.len_chars().sum():
        return digits
    return digits.str.replace_many(list(_FULL_WIDTH), list("0123456789"))
