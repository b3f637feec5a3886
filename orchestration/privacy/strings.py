"""The strings that give a person away, and masking them where they stand in other texts.

What is looked for: e-mail addresses, phone numbers however they are grouped, ids that are telling (at least six
characters with a digit), names and own words that nobody else has. A short id such as ``c3`` or ``17`` says nothing on
its own and stands in every other hash and date: it leaves with the columns that are mapped as ids and is not looked
for in texts.

A hit is bounded: ``li@example.com`` is not found in ``mali@example.com`` nor ``13800000003`` in a longer number.

``Strings`` knows the strings; where only their hashes are known, ``tokens`` cuts a text into what they may be compared
with.

Does not belong here: which strings a person has (``subject``), which files are searched (``search``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

import polars as pl

ERASED = "[erased]"
_TELLING_LENGTH = 6
_WORDS_LENGTH = 12
_SEPARATORS = r"[\s().\-]{0,3}"
_SEPARATING = b" \t\n\r\f\v().-"
_LOOSE_SEPARATORS = r"[^0-9A-Za-z]{0,9}"
_LOOSE_LENGTH = 10
"""At least ``_SEPARATORS`` in bytes: a space may take three of them."""
_AROUND = 8
"""More than the bytes before and behind a hit on which it depends whether it is one."""
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def is_telling_id(value: str) -> bool:
    """Whether an id gives somebody away wherever it stands."""
    return len(value) >= _TELLING_LENGTH and any(letter.isdigit() for letter in value)


def is_telling_text(value: str) -> bool:
    """Whether a name or own words are long enough not to be met by chance; a CJK character counts fourfold."""
    return len(value) + 3 * len(_CJK.findall(value)) >= _WORDS_LENGTH


@dataclass(frozen=True)
class Strings:
    """What is looked for.

    Attributes:
        contacts: E-mail addresses and telling ids; a whole word, any case for addresses.
        digits: Phone numbers as digits alone, with or without country code; separators may stand between.
        texts: Names and own words, as they are.
    """

    contacts: tuple[str, ...] = ()
    digits: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.contacts or self.digits or self.texts)

    @classmethod
    def of(
        cls, *, contacts: Collection[str] = (), digits: Collection[str] = (), texts: Collection[str] = ()
    ) -> Strings:
        """Sorted and without repetition."""
        return cls(
            *(tuple(sorted(set(values), key=lambda text: (-len(text), text))) for values in (contacts, digits, texts))
        )

    def __or__(self, other: Strings) -> Strings:
        return Strings.of(
            contacts=(*self.contacts, *other.contacts),
            digits=(*self.digits, *other.digits),
            texts=(*self.texts, *other.texts),
        )

    @cached_property
    def needles(self) -> list[str]:
        """Texts of which one, or one of ``numbers``, stands in every text with a hit once A to Z are small letters."""
        # Other letters have to be as they are, or all small, or all capital.
        return _shortest(_lower(case) for text in self._written for case in (text, text.lower(), text.upper()))

    @cached_property
    def numbers(self) -> list[str]:
        """Digits of phone numbers, of which one of several with the same end is enough."""
        return _shortest(self.digits)

    @cached_property
    def _written(self) -> list[str]:
        return [form for text in (*self.contacts, *self.texts) for form in _forms(text)]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches a hit within a text."""
        parts = [
            rf"(?<![A-Za-z0-9_+.\-]){re.escape(form)}(?![A-Za-z0-9_]|[.\-][A-Za-z0-9])"
            for text in self.contacts
            for form in _forms(text)
        ]
        parts += [re.escape(form) for text in self.texts for form in _forms(text)]
        parts += [rf"(?<!\d)\+?(?:00)?{_SEPARATORS.join(number)}(?!\d)" for number in self.digits]
        return re.compile("|".join(parts) if parts else r"(?!)", re.IGNORECASE)

    @cached_property
    def bytes_pattern(self) -> re.Pattern[bytes]:
        """``pattern`` over UTF-8."""
        return re.compile(self.pattern.pattern.encode(), re.IGNORECASE)

    @cached_property
    def loose_pattern(self) -> str:
        """An expression of RE2 over bytes: found wherever a hit is, whatever stands around it and between digits."""
        parts = [re.escape(form) for form in _shortest(self._written)]
        return "|".join([*parts, *(_LOOSE_SEPARATORS.join(number) for number in self.numbers)])

    @cached_property
    def _grouped(self) -> str:
        """An expression for phone numbers however they are grouped, whatever stands around them."""
        return "|".join(_SEPARATORS.join(number) for number in self.numbers)

    @cached_property
    def reach(self) -> int:
        """Bytes that a hit may take at most, with what is looked at around it."""
        longest = max((len(form.encode()) for form in self._written), default=0)
        return max([longest, *(len(number) * _LOOSE_LENGTH for number in self.digits)]) + _AROUND

    def as_identifiers(self) -> list[tuple[str, str]]:
        """Namespace and value of what ``tokens`` may find."""
        words = [("word", text) for text in self.contacts if "@" not in text]
        return [*words, *(("digits", number) for number in self.digits)]

    def found(self, text: str) -> bool:
        """Whether a text holds a hit."""
        return self.pattern.search(text) is not None

    def masked(self, text: str) -> str | None:
        """A text without hits; null where it is nothing but one."""
        if (whole := self.pattern.fullmatch(text.strip())) and whole:
            return None
        return self.pattern.sub(ERASED, text)

    def hits(self, content: bytes) -> Iterator[tuple[int, int]]:
        """Where hits begin and end, as ``bytes_pattern.finditer`` gives them; quick where there are few or none."""
        after = 0
        for first, last in sorted(self._windows(content)):
            begin = max(first, after)
            while begin < last and (hit := self.bytes_pattern.search(content, begin, last)):
                # Behind the window may stand what makes it no hit, or a longer one.
                whole = self.bytes_pattern.match(content, hit.start())
                begin = hit.start() + 1
                if whole:
                    yield whole.span()
                    begin = after = whole.end()

    def _windows(self, content: bytes) -> Iterator[tuple[int, int]]:
        """Where hits may be: the pattern itself takes long."""
        lower = content.lower()
        for needle in self.needles:
            literal = needle.encode()
            at = lower.find(literal)
            while at >= 0:
                yield max(0, at - self.reach), at + len(literal) + self.reach
                at = lower.find(literal, at + 1)
        together = content.translate(None, _SEPARATING)
        if any(number.encode() in together for number in self.numbers):
            for hit in re.finditer(self._grouped.encode(), content):
                yield max(0, hit.start() - self.reach), hit.end() + self.reach

    def masked_bytes(self, content: bytes) -> bytes:
        """Bytes of the same length with stars in place of hits: no offset within a file moves."""
        masked = bytearray(content)
        for begin, end in self.hits(content):
            masked[begin:end] = b"*" * (end - begin)
        return bytes(masked)

    def candidates(self, names: Collection[str]) -> pl.Expr:
        """Rows of which one of the text columns ``names`` may hold a hit; quick, and never misses one."""
        hits = []
        for column in map(pl.col, names):
            if self.needles:
                hits.append(column.str.contains_any(self.needles, ascii_case_insensitive=True))
            if self.numbers:
                hits.append(column.str.contains(self._grouped))
        return pl.any_horizontal(hits).fill_null(value=False) if hits else pl.lit(value=False)

    def mask_frame(self, frame: pl.DataFrame, columns: Collection[str] | None = None) -> tuple[pl.DataFrame, int]:
        """Mask the text cells of a frame.

        Args:
            frame: Any frame.
            columns: Columns to look at; default every text column.

        Returns:
            The frame, and how many cells changed.
        """
        names = [
            name for name, kind in frame.schema.items() if kind == pl.String and (columns is None or name in columns)
        ]
        cells, changed = 0, []
        for name in names:
            hit = frame.filter(self.candidates([name]))[name]
            new = {text: self.masked(text) for text in hit.unique().to_list() if self.found(text)}
            if new:
                cells += int(hit.is_in(list(new)).sum())
                old = pl.Series(list(new), dtype=pl.String)
                values = pl.Series(list(new.values()), dtype=pl.String)
                changed.append(frame[name].replace_strict(old, values, default=frame[name], return_dtype=pl.String))
        return frame.with_columns(changed), cells


_TOKEN = re.compile(
    r"(?P<email>[A-Za-z0-9_+.\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+)"
    r"|(?P<digits>(?<![A-Za-z0-9])\+?\d[\d\s().\-]{5,}\d(?![A-Za-z0-9]))"
    r"|(?P<word>[A-Za-z0-9_\-]{6,})"
)


def tokens(text: str) -> list[tuple[str, str, str]]:
    """Parts of a text that may give somebody away: namespace (``email``, ``digits``, ``word``), value, as written."""
    found = []
    for match in _TOKEN.finditer(text):
        namespace, written = str(match.lastgroup), match.group()
        value = {"email": written.lower().rstrip("."), "digits": re.sub(r"\D", "", written)}.get(namespace, written)
        if namespace != "word" or is_telling_id(value):
            found.append((namespace, value.removeprefix("00") if namespace == "digits" else value, written))
    return found


def _lower(text: str) -> str:
    """A text with small letters for A to Z; the others as they are."""
    return text.encode().lower().decode()


def _shortest(texts: Iterable[str]) -> list[str]:
    """Texts, sorted, without those that hold another."""
    kept: list[str] = []
    for text in sorted(set(texts), key=len):
        if not any(other in text for other in kept):
            kept.append(text)
    return sorted(kept)


def _forms(text: str) -> list[str]:
    """A text as it is, as JSON escapes it, and as an address (URL) does."""
    return list(dict.fromkeys([text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text)]))
