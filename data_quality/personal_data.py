"""What personal data looks like in text: patterns, the check digit of an identity card, names that are known.

One place for the marts gate, which asks in SQL, and for the report, which is read as text. Does not belong here: which
columns may hold what (``orchestration.contracts`` classes them).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

import polars as pl

EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
PHONE = (
    r"(^|[^0-9A-Za-z.+-])(\+[1-9][0-9]{0,2}([ .-]?[0-9]){7,12}|((\+|00)?86[ -]?)?1[3-9][0-9]([ -]?[0-9]{4}){2})"
    r"($|[^0-9A-Za-z.-])"
)
"""E.164, also with blanks, dots or hyphens between the digits, or a Chinese mobile number with or without 86."""
ID_CARD = (
    r"(^|[^0-9A-Za-z])([1-9][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx])"
    r"($|[^0-9A-Za-z])"
)
"""Number of a Chinese identity card (GB 11643-1999): region, date of birth, sequence, check digit; group 2."""
NAME = r"\S[ 　]+\S|\p{Han}{2}"
"""What a name has to have to be looked for: two words, or two Chinese characters. Of one word too much is equal."""
LONGEST_NUMBER = 24
"""Characters up to which a number has a mark; longer ones are compared with the few values that have none."""

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<!--.*?-->|<[^>]*>", re.DOTALL)


def email_sql(value: str) -> str:
    """SQL that is true where the text expression ``value`` holds what looks like an e-mail address."""
    # A single character is looked for many times faster than a pattern.
    return f"(contains({value}, '@') AND regexp_matches({value}, '{EMAIL}'))"


def phone_sql(value: str) -> str:
    """SQL that is true where the text expression ``value`` holds what looks like a phone number."""
    return f"regexp_matches({value}, '{PHONE}')"


def id_card_sql(value: str) -> str:
    """SQL that is true where the text expression ``value`` holds an identity number whose check digit is right.

    The check digit is the sum of the 17 digits times their weights, modulo 11 (ISO 7064, MOD 11-2).
    """
    digits = " + ".join(f"{weight} * CAST(x[{place}] AS INTEGER)" for place, weight in enumerate(_WEIGHTS, 1))
    # What few texts have comes first: 18 characters, the century of birth, 17 digits in a row.
    may_be = (
        f"length({value}) >= 18 AND (contains({value}, '19') OR contains({value}, '20')) "
        f"AND regexp_matches({value}, '[0-9]{{17}}')"
    )
    return (
        f"({may_be} AND len(list_filter(regexp_extract_all({value}, '{ID_CARD}', 2), "
        f"lambda x : '{_CHECK}'[1 + ({digits}) % 11] = upper(x[18]))) > 0)"
    )


def marked_sql(value: str) -> str:
    """SQL that is true where the text expression ``value`` has a mark of what persons are known by; it costs little.

    An ``@``, a blank, a character outside ASCII, or what begins with a digit or a plus sign, ends with a digit and is
    no longer than the numbers that people have, as many keys are. Where a text in lower case without blanks around it
    is marked, so is the text itself.
    """
    ends = f"{value} BETWEEN '+' AND ':' AND right({value}, 1) BETWEEN '0' AND '9'"
    number = f"(strlen({value}) <= {LONGEST_NUMBER} AND {ends})"
    return f"(contains({value}, '@') OR contains({value}, ' ') OR strlen({value}) <> length({value}) OR {number})"


def is_id_card(number: str) -> bool:
    """Whether the check digit of an eighteen-digit number is right."""
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, number, strict=False))
    return _CHECK[total % 11] == number[17].upper()


def texts_of(page: str) -> list[str]:
    """The texts between the tags of an HTML page, without style and script."""
    texts = (html.unescape(text).strip() for text in _MARKUP.sub("\0", page).split("\0"))
    return [text for text in texts if text]


def found_in(texts: Iterable[str], names: pl.Series) -> list[str]:
    """What of a person stands in texts, one sentence each, without the values.

    Args:
        texts: Texts; a name counts as a whole word within one.
        names: Names of known persons, as text.
    """
    lines = list(texts)
    counts = {
        "an e-mail address": sum(bool(re.search(EMAIL, text)) for text in lines),
        "a phone number": sum(bool(re.search(PHONE, text)) for text in lines),
        "an identity card's number": sum(
            any(is_id_card(match[2]) for match in re.finditer(ID_CARD, text)) for text in lines
        ),
        "the name of a customer": _named(lines, names),
    }
    return [f"{what} stands in {count} of its texts" for what, count in counts.items() if count]


def _named(lines: list[str], names: pl.Series) -> int:
    known = names.drop_nulls().str.strip_chars().unique()
    known = known.filter(known.str.contains(NAME))
    if known.is_empty():
        return 0
    hits = pl.DataFrame({"text": lines}, schema={"text": pl.String}).with_columns(
        name=pl.col("text").str.extract_many(known.to_list(), overlapping=True)
    )
    pairs = hits.explode("name").drop_nulls().rows()
    return len({text for text, name in pairs if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)})
