"""Free text and languages: repair of Chinese text, signs of lost characters, language by script.

The text as received is never overwritten; the repaired text is a column of its own. A lost character is
flagged and never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import opencc
import polars as pl

from orchestration.normalize.batches import by_batch, outcome_type, over_distinct, per_value
from orchestration.normalize.code_tables import LANGUAGES

INVALID_LANGUAGE = "invalid_language"

_TONED = "āáǎàōóǒòēéěèīíǐìūúǔùǖǘǚǜńňǹḿ"
_SYLLABLE = rf"[a-zü]{{0,4}}[{_TONED}][a-zü]{{0,4}}"
_PINYIN_HINT = rf"(\p{{Han}})\({_SYLLABLE}\)"
# What is lost shows as question marks between Han characters or in place of a hint's parenthesis, as U+FFFD and
# what that turns into under GBK, or as UTF-8 read as Latin-1 or Windows-1252.
_LOST = (
    rf"\p{{Han}}\?\?+\p{{Han}}|\p{{Han}}\?{_SYLLABLE}\)|\x{{FFFD}}|锟斤拷|锘匡"
    r"|[ÃÂ][\x{80}-\x{BF}]|â€[\x{80}-\x{2122}]|[äåæçèé][\x{80}-\x{BF}\x{2018}-\x{2122}][\x{80}-\x{BF}\x{2018}-\x{2122}]"
)

_SCRIPT_LANGUAGES = (
    # The order decides between scripts that share characters: Japanese has kana beside Han.
    ("ja", r"[\p{Hiragana}\p{Katakana}]"),
    ("ko", r"\p{Hangul}"),
    ("zh", r"\p{Han}"),
    ("ru", r"\p{Cyrillic}"),
    ("ar", r"\p{Arabic}"),
    ("he", r"\p{Hebrew}"),
    ("th", r"\p{Thai}"),
    ("el", r"\p{Greek}"),
    ("hi", r"\p{Devanagari}"),
)
_SCRIPT_SHARE = 0.2
"""Share of a text's letters from which a script other than Latin decides (names and brands stay Latin)."""

_FUNCTION_WORDS = {
    "en": "the and is was are of to it my very not with for you they have this but too no good great",
    "de": "der die das und ist war nicht sehr mit für ich sie ein eine zu auf auch aber kein gut",
    "fr": "le la les et est très pas avec pour je vous un une des du mais trop bon bien",
    "es": "el la los las y es muy no con para yo un una del pero lo bien buen bueno",
    "pt": "o os as e é muito não com para eu um uma do da mas produto bom antes do prazo recebi ótimo",
    "it": "il lo gli e è molto non con per io un una del della ma troppo buono bene",
}
"""Frequent function words that tell the Latin-script languages apart; no match leaves the language open."""


@cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


def to_simplified(text: str) -> str:
    """Traditional Chinese characters of one text to simplified ones, by OpenCC ``t2s``."""
    return _converter().convert(text)


def without_pinyin_hints(expression: pl.Expr) -> pl.Expr:
    """Text without pinyin hints such as ``驗(yàn)``.

    A hint is a parenthesis right behind a Han character that holds one lower-case Latin syllable with a tone mark;
    ``(NPS)`` and ``(de)`` stay.
    """
    return expression.str.replace_all(_PINYIN_HINT, "${1}")


@over_distinct
def _simplified(text: pl.Series) -> pl.Series:
    convert = _converter().convert
    has_han = text.str.contains(r"\p{Han}").fill_null(value=False)
    converted = [
        convert(value) if is_han else value for value, is_han in zip(text.to_list(), has_han.to_list(), strict=True)
    ]
    return pl.Series(converted, dtype=pl.String())


def clean_text(expression: pl.Expr) -> pl.Expr:
    """Text repaired: NFKC, pinyin hints out, traditional to simplified; null where nothing is left."""
    hintless = without_pinyin_hints(expression.str.normalize("NFKC"))
    cleaned = by_batch(hintless, _simplified, pl.String()).str.strip_chars()
    return pl.when(cleaned != "").then(cleaned)


def is_mojibake(expression: pl.Expr) -> pl.Expr:
    """True where the text as received shows lost or wrongly decoded characters; null for null."""
    return expression.str.contains(_LOST)


@over_distinct
def _recognised(text: pl.Series) -> pl.Series:
    frame = pl.DataFrame({"text": text})
    lower = pl.concat_str(
        [pl.lit(" "), pl.col("text").str.to_lowercase().str.replace_all(r"[^\p{L}]+", " "), pl.lit(" ")]
    )
    letters = pl.col("text").str.count_matches(r"\p{L}").cast(pl.Float64())
    scripts = [
        pl.when(
            (pl.col("text").str.count_matches(pattern) >= _SCRIPT_SHARE * letters)
            & pl.col("text").str.contains(pattern)
        ).then(pl.lit(language))
        for language, pattern in _SCRIPT_LANGUAGES
    ]
    # Blanks are doubled so that neighbouring words do not share one.
    words = lower.str.replace_all(" ", "  ", literal=True)
    counts = {
        language: words.str.count_matches("|".join(f" {word} " for word in dict.fromkeys(listed.split())))
        for language, listed in _FUNCTION_WORDS.items()
    }
    frame = frame.with_columns(script=pl.coalesce(scripts), **counts)
    best = pl.max_horizontal(*counts)
    is_clear = pl.sum_horizontal(*[pl.col(language) == best for language in counts]) == 1
    chosen = pl.coalesce([pl.when(pl.col(language) == best).then(pl.lit(language)) for language in counts])
    return frame.select(
        pl.when(pl.col("script").is_not_null()).then(pl.col("script")).when((best > 0) & is_clear).then(chosen)
    ).to_series()


def recognised_language(expression: pl.Expr) -> pl.Expr:
    """ISO 639-1 of the language a text is written in, null where it stays open.

    By script where the script decides, among Latin-script languages by frequent function words.
    """
    return by_batch(expression, _recognised, pl.String())


@cache
def _languages() -> dict[str, str]:
    table: dict[str, str] = {}
    for line in LANGUAGES.splitlines():
        code, english, chinese = line.split("|")
        for name in (code, english, chinese, chinese.removesuffix("语") + "文" if chinese else ""):
            if name:
                table.setdefault(unicodedata.normalize("NFKC", name).casefold(), code)
    native = {"deutsch": "de", "français": "fr", "español": "es", "português": "pt", "italiano": "it"}
    chinese_names = dict.fromkeys(
        ("汉语", "国语", "普通话", "简体中文", "繁体中文", "mandarin", "cmn", "chs", "cht"), "zh"
    )
    return table | native | chinese_names


def read_language(text: str) -> tuple[str | None, str | None]:
    """A BCP 47 tag or a language's name to ISO 639-1, or None and the reason."""
    name = unicodedata.normalize("NFKC", to_simplified(text)).strip().casefold()
    table = _languages()
    code = table.get(name) or table.get(re.split(r"[-_ (]", name, maxsplit=1)[0])
    return (code, None) if code else (None, INVALID_LANGUAGE)


def languages(expression: pl.Expr) -> pl.Expr:
    """Text to ``{value: ISO 639-1, reason}``, each distinct value once."""
    return by_batch(expression, per_value(read_language), outcome_type(pl.String()))
