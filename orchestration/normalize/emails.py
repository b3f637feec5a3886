"""E-mail addresses: lower case, full-width letters folded, one address and no display name.

Does not belong here: whether two addresses are one person (``identity``), whether an address is reachable.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from orchestration.normalize.batches import REASON, VALUE

INVALID_EMAIL = "invalid_email"

_LOCAL = r"[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+(?:\.[\p{L}\p{N}!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?"
_ADDRESS = rf"^{_LOCAL}@(?:{_LABEL}\.)+(?:\p{{L}}{{2,}}|xn--[a-z0-9-]+)$"


def emails(expression: pl.Expr) -> pl.Expr:
    """Text to ``{value: address in lower case, reason}``.

    ``Li Wei <li.wei@example.com>`` and ``mailto:`` give the address. The syntax is RFC 5321's common part (dot
    atoms, at most 64 characters before and 254 in all), with letters of any script as RFC 6531 allows.
    """
    folded = (
        expression.str.normalize("NFKC")
        .str.to_lowercase()
        .str.normalize("NFKC")
        .str.strip_chars()
        .str.replace(r"^[^<>]*<([^<>]*)>$", "${1}")
        .str.strip_prefix("mailto:")
        .str.strip_chars()
    )
    is_address = (
        folded.str.contains(_ADDRESS) & (folded.str.len_chars() <= 254) & (folded.str.find("@", literal=True) <= 64)
    )
    return pl.struct(
        pl.when(is_address).then(folded).alias(VALUE),
        pl.when(expression.is_not_null() & ~is_address).then(pl.lit(INVALID_EMAIL)).alias(REASON),
    )


def may_be_one_of(expression: pl.Expr, addresses: Collection[str]) -> pl.Expr:
    """Whether a text may be read as one of some addresses: quick, and False only where ``emails`` differs.

    Of a text in ASCII an address is a part in small letters; another may be folded into any.
    """
    is_ascii = expression.str.len_bytes() == expression.str.len_chars()
    return ~is_ascii | expression.str.contains_any(sorted(addresses), ascii_case_insensitive=True)
