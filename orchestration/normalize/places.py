"""Countries to ISO 3166-1 alpha-2 and regions to GB/T 2260 (China) or ISO 3166-2 (elsewhere).

Chinese names count with and without 市, 省, 自治区 and the like, in simplified or traditional characters; Latin
names as pinyin or as commonly written. A Latin name that two cities share (Suzhou, Fuzhou, Taizhou, Yichun,
Yulin) is refused as ``ambiguous_region`` unless the province stands beside it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from functools import cache

import polars as pl

from orchestration.normalize.batches import by_batch, outcome_type, per_value
from orchestration.normalize.code_tables import COUNTRIES
from orchestration.normalize.region_table import REGIONS
from orchestration.normalize.text import to_simplified

INVALID_COUNTRY = "invalid_country"
INVALID_REGION = "invalid_region"
AMBIGUOUS_REGION = "ambiguous_region"

_CHINESE = ("CN", "HK", "MO", "TW")
_BETWEEN = "\x1f"

_CHINESE_SUFFIX = re.compile(r"(?:省|市|地区|盟|自治区|自治州|特别行政区)$")
_LATIN_SUFFIX = re.compile(
    r"(?: (?:province|city|municipality|shi|sheng|prefecture|autonomous region|(?:uygur|zhuang|hui) autonomous region"
    r"|special administrative region|sar))+(?:,? china)?$"
)


def _folded(text: str) -> str:
    """Letters only compared: no case, accents, full stops, apostrophes or double blanks."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[.'’`·]", "", plain.replace("-", " ")).split())


@cache
def _countries() -> dict[str, str]:
    table: dict[str, str] = {}
    lines = [line.split("|") for line in COUNTRIES.splitlines()]
    for code, *names in lines:
        for name in names:
            # Where two countries share a name in the table, the first line keeps it.
            table.setdefault(_folded(to_simplified(name)), code)
    return table | {line[0].casefold(): line[0] for line in lines}


def read_country(text: str) -> tuple[str | None, str | None]:
    """A code or name of a country to ISO 3166-1 alpha-2, or None and the reason."""
    code = _countries().get(_folded(to_simplified(text)))
    return (code, None) if code else (None, INVALID_COUNTRY)


class _Regions:
    """The table of Chinese regions, ready for look-up."""

    def __init__(self) -> None:
        self.codes: set[str] = set()
        self.iso: dict[str, str] = {}
        self.names: dict[str, set[str]] = defaultdict(set)
        for line in REGIONS.splitlines():
            code, letters, full, short, *latin = line.split("|")
            self.codes.add(code)
            if letters:
                self.iso[letters] = code
                self.iso[code[:2]] = code
            for name in (full, short, *(entry.replace("'", "") for entry in latin)):
                self.names[_folded(name)].add(code)

    def candidates(self, name: str) -> set[str]:
        """Codes that ``name`` may mean; a province wins over a city of its name."""
        found = self.names.get(name)
        if not found:
            return set()
        provinces = {code for code in found if code.endswith("0000")}
        return provinces or found


@cache
def _regions() -> _Regions:
    return _Regions()


def _named(name: str) -> set[str]:
    """Codes of one name, with its suffix first and then without."""
    regions = _regions()
    city = re.search(r" (?:city|shi)$", name) or name.endswith("市")
    for form in (name, _LATIN_SUFFIX.sub("", name), _CHINESE_SUFFIX.sub("", name)):
        found = set(regions.names.get(form, ())) if city else regions.candidates(form)
        if city and len(found) > 1:
            # "Jilin City" is the city and not the province.
            found = {code for code in found if not code.endswith("0000")} or found
        if found:
            return found
    return set()


def _within(parts: list[str]) -> set[str]:
    """Codes of the narrowest of several names that lie within each other (province and city, any order)."""
    known = [found for found in map(_named, parts) if found]
    if not known or len(known) < len([part for part in parts if part not in {"china", "中国"}]):
        return set()
    provinces = {code[:2] for found in known for code in found if code.endswith("0000")}
    cities = [found for found in known if any(not code.endswith("0000") for code in found)]
    if not cities:
        # A municipality is named twice ("北京市北京市"); two provinces contradict each other.
        return set.union(*known) if len(provinces) == 1 else set()
    chosen = cities[-1]
    return {code for code in chosen if not provinces or code[:2] in provinces}


def _chinese_parts(name: str) -> list[str]:
    """The province and city of "广东省深圳市南山区"; a county or district behind them is not in the table and goes."""
    parts: list[str] = []
    rest = name
    while rest:
        heads = (rest[:end] for end in range(len(rest), 1, -1))
        head = next((head for head in heads if _named(head) and _within([*parts, head])), None)
        if head is None:
            is_below = bool(parts) and re.search(r"(?:区|县|旗|市|镇|乡|街道)$", rest)
            return parts if is_below else [name]
        parts.append(head)
        rest = rest[len(head) :]
    return parts


def read_region(text: str, country: str | None = None) -> tuple[str | None, str | None]:
    """A code or name of a region to GB/T 2260 (six digits) or ISO 3166-2, or None and the reason.

    Args:
        text: Name or code; province and city may stand together, with or without comma or blank.
        country: ISO 3166-1 alpha-2 of the country the region lies in. Names are known for China (CN, HK, MO, TW); in
            another country only ISO 3166-2 codes pass, with or without the country in front. None where it is not
            known: then the short codes that many countries share (SC, 44) are refused.
    """
    upper = unicodedata.normalize("NFKC", text).strip().upper()
    is_chinese = country in _CHINESE
    if iso := re.fullmatch(r"([A-Z]{2})-([A-Z0-9]{1,3})", upper):
        if iso[1] != "CN":
            return (upper, None) if iso[1].casefold() in _countries() else (None, INVALID_REGION)
        upper, is_chinese = iso[2], True
    if country is not None and not is_chinese:
        return (f"{country}-{upper}", None) if re.fullmatch(r"[A-Z0-9]{1,3}", upper) else (None, INVALID_REGION)
    regions = _regions()
    if upper in regions.codes:
        return upper, None
    if is_chinese and upper in regions.iso:
        return regions.iso[upper], None
    name = _folded(to_simplified(text))
    found = _named(name)
    if not found or len(found) > 1:
        parts = [part.strip() for part in re.split(r"[,，、/|>]", name) if part.strip()]
        if len(parts) == 1:
            parts = _chinese_parts(name.replace(" ", "")) if re.search(r"[\u4e00-\u9fff]", name) else parts
        if parts != [name]:
            found = _within(parts)
    if len(found) == 1:
        return next(iter(found)), None
    return None, AMBIGUOUS_REGION if found else INVALID_REGION


def countries(expression: pl.Expr) -> pl.Expr:
    """Text to ``{value: ISO 3166-1 alpha-2, reason}``, each distinct value once."""
    return by_batch(expression, per_value(read_country), outcome_type(pl.String()))


def _read_pair(pair: str) -> tuple[str | None, str | None]:
    country, text = pair.split(_BETWEEN, 1)
    return read_region(text, country or None)


def regions(expression: pl.Expr, country: pl.Expr | str | None = None) -> pl.Expr:
    """Text to ``{value: GB/T 2260 or ISO 3166-2, reason}``, each distinct value once.

    Args:
        expression: Names or codes.
        country: ISO 3166-1 alpha-2 the regions lie in, of all or of each row; null where unknown.
    """
    lies_in = country if isinstance(country, pl.Expr) else pl.lit(country, dtype=pl.String())
    pairs = pl.concat_str([lies_in.fill_null(""), expression], separator=_BETWEEN)
    return by_batch(pairs, per_value(_read_pair), outcome_type(pl.String()))
