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
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

import polars as pl

ERASED = "[erased]"
_TELLING_LENGTH = 6
_WORDS_LENGTH = 12
_SEPARATOR = r"[\s\x1c-\x1f().\-]"
_SEPARATORS = _SEPARATOR + "{0,3}"
_BYTE_SEPARATORS = (
    rf"(?:{_SEPARATOR}|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
    "{0,3}"
)
"""``_SEPARATORS`` where a text is UTF-8: its spaces beyond ASCII."""
_SEPARATING = b" \t\n\r\f\v\x1c\x1d\x1e\x1f().-" + bytes(range(128, 256))
"""Bytes of which separators are made."""
_AT_ONCE = 200
"""Texts that one expression of RE2 or Polars may be made of: they refuse much larger ones."""
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
        return _shortest(map(_lower, self._written))

    @cached_property
    def numbers(self) -> list[str]:
        """Digits of phone numbers, of which one of several with the same end is enough."""
        return _shortest(self.digits)

    @cached_property
    def _written(self) -> list[str]:
        return [form for text in (*self.contacts, *self.texts) for form in _forms(text)]

    def _expression(self, separators: str) -> str:
        parts = [
            rf"(?<![A-Za-z0-9_+.\-]){re.escape(form)}(?![A-Za-z0-9_]|[.\-][A-Za-z0-9])"
            for text in self.contacts
            for form in _forms(text)
        ]
        parts += [re.escape(form) for text in self.texts for form in _forms(text)]
        parts += [rf"(?<!\d)\+?(?:00)?{separators.join(number)}(?!\d)" for number in self.digits]
        return "|".join(parts) if parts else r"(?!)"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches a hit within a text."""
        return re.compile(self._expression(_SEPARATORS), re.IGNORECASE)

    @cached_property
    def bytes_pattern(self) -> re.Pattern[bytes]:
        """Matches a hit within UTF-8; of letters beyond A to Z as they are, or all small, or all capital."""
        return re.compile(self._expression(_BYTE_SEPARATORS).encode(), re.IGNORECASE)

    @cached_property
    def loose_patterns(self) -> list[str]:
        """Expressions of RE2 over bytes, one of which is found wherever a hit of ``bytes_pattern`` is.

        They do not mind what stands around a hit and between digits.
        """
        parts = [re.escape(needle) for needle in self.needles]
        parts += [_LOOSE_SEPARATORS.join(number) for number in self.numbers]
        return _alternatives(parts)

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
        for first, last in self._windows(content):
            begin = first
            while begin < last and (hit := self.bytes_pattern.search(content, begin, last)):
                # Behind the window may stand what makes it no hit.
                whole = self.bytes_pattern.match(content, hit.start())
                begin = hit.start() + 1
                if whole:
                    yield whole.span()
                    begin = whole.end()

    def _windows(self, content: bytes) -> list[list[int]]:
        """Where hits may be, from where to where, none overlapping another: the pattern itself takes long."""
        found: list[tuple[int, int]] = []
        lower = content.lower()
        for needle in self.needles:
            literal = needle.encode()
            at = lower.find(literal)
            while at >= 0:
                found.append((at, at + len(literal)))
                at = lower.find(literal, at + 1)
        together = content.translate(None, _SEPARATING)
        numbers = [number for number in self.numbers if number.encode() in together]
        if numbers:
            grouped = "|".join(_BYTE_SEPARATORS.join(number) for number in numbers).encode()
            found += [hit.span() for hit in re.finditer(grouped, content)]
        windows: list[list[int]] = []
        for begin, end in sorted(found):
            if windows and begin - self.reach <= windows[-1][1]:
                windows[-1][1] = max(windows[-1][1], end + self.reach)
            else:
                windows.append([max(0, begin - self.reach), end + self.reach])
        return windows

    def masked_bytes(self, content: bytes) -> bytes:
        """Bytes of the same length with stars in place of hits: no offset within a file moves."""
        masked = bytearray(content)
        for begin, end in self.hits(content):
            masked[begin:end] = b"*" * (end - begin)
        return bytes(masked)

    def candidates(self, names: Collection[str]) -> pl.Expr:
        """Rows of which one of the text columns ``names`` may hold a hit; quick, and never misses one."""
        grouped = _alternatives([_SEPARATORS.join(number) for number in self.numbers])
        hits = []
        for column in map(pl.col, names):
            if self.needles:
                hits.append(column.str.contains_any(self.needles, ascii_case_insensitive=True))
            hits += [column.str.contains(pattern) for pattern in grouped]
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


def _alternatives(parts: Sequence[str]) -> list[str]:
    """Expressions, one of which is found where one of ``parts`` is."""
    return ["|".join(parts[begin : begin + _AT_ONCE]) for begin in range(0, len(parts), _AT_ONCE)]


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
    """A text as it is, as JSON escapes it, and as an address (URL) does; letters beyond A to Z in each case."""
    cases = [text] if text.isascii() else [text, text.lower(), text.upper()]
    return list(
        dict.fromkeys(
            form
            for case in cases
            for form in (case, json.dumps(case)[1:-1], json.dumps(case, ensure_ascii=False)[1:-1], quote(case))
        )
    )
