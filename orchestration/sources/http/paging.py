"""From one page to the next: where a sequence begins, what a request needs of its position, and when it ends.

A position is plain JSON, so that a load can go on from it another day. Does not belong here: sending (``client``) and
reconciling page numbers (``engine``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol
from urllib.parse import urljoin

from orchestration.sources.http.client import Answer
from orchestration.sources.http.config import (
    KeysetPaging,
    LinkPaging,
    NoPaging,
    NumberPaging,
    TokenPaging,
)
from orchestration.sources.http.records import as_text, find, says_yes

Position = dict[str, Any]
Flat = Mapping[str, str | None]
_LINK_NEXT = re.compile(r"<([^>]*)>\s*;[^,]*\brel\s*=\s*\"?next\"?", re.IGNORECASE)


class PageError(Exception):
    """A page that cannot be the one that was asked for; it is asked for again, then the load fails."""


@dataclass(frozen=True)
class Asked:
    """What a position puts into a request: template variables, parameters, or a whole address."""

    variables: dict[str, Any]
    params: dict[str, str]
    url: str | None = None


class Pager(Protocol):
    """One way of paging."""

    def first(self) -> Position:
        """Where a sequence of pages begins."""

    def asked(self, position: Position) -> Asked:
        """What the request for a page needs."""

    def following(self, position: Position, answer: Answer, rows: Sequence[Flat]) -> Position | None:
        """The position behind a page; None behind the last.

        Raises:
            PageError: the page cannot be the one asked for.
        """


def pager(paging: Any) -> Pager:
    """The pager of a paging declared in YAML."""
    match paging:
        case NoPaging():
            return _Single()
        case TokenPaging():
            return _Token(paging)
        case LinkPaging():
            return _Link(paging)
        case KeysetPaging():
            return _Keyset(paging)
        case NumberPaging():
            return _Numbered(paging)
    raise TypeError(f"no paging: {paging!r}")


class _Single:
    def first(self) -> Position:
        return {}

    def asked(self, position: Position) -> Asked:
        return Asked({}, {})

    def following(self, position: Position, answer: Answer, rows: Sequence[Flat]) -> Position | None:
        return None


class _Token:
    def __init__(self, paging: TokenPaging) -> None:
        self._paging = paging

    def first(self) -> Position:
        return {"token": None}

    def asked(self, position: Position) -> Asked:
        token = position["token"]
        params = {self._paging.param: token} if self._paging.param and token is not None else {}
        return Asked({"page": {"token": token}}, params)

    def following(self, position: Position, answer: Answer, rows: Sequence[Flat]) -> Position | None:
        paging = self._paging
        if paging.header is not None:
            token = answer.headers.get(paging.header)
        else:
            token = as_text(find(paging.next, answer.document))
        if token is None or not token.strip() or token in paging.end or _is_over(paging, answer):
            return None
        if paging.repeats and not rows:
            return None
        return {"token": token}


class _Link:
    def __init__(self, paging: LinkPaging) -> None:
        self._paging = paging

    def first(self) -> Position:
        return {"url": None}

    def asked(self, position: Position) -> Asked:
        return Asked({"page": {"token": None}}, {}, position["url"])

    def following(self, position: Position, answer: Answer, rows: Sequence[Flat]) -> Position | None:
        if self._paging.next is None:
            match = _LINK_NEXT.search(", ".join(answer.headers.get_list("link")))
            link = match[1] if match else None
        else:
            link = as_text(find(self._paging.next, answer.document))
        if link is None or not link.strip() or _is_over(self._paging, answer):
            return None
        return {"url": urljoin(answer.url, link)}


def _is_over(paging: TokenPaging | LinkPaging, answer: Answer) -> bool:
    if paging.more is not None and not says_yes(find(paging.more, answer.document)):
        return True
    return paging.done is not None and says_yes(find(paging.done, answer.document))


class _Keyset:
    def __init__(self, paging: KeysetPaging) -> None:
        self._paging = paging

    def first(self) -> Position:
        return {"last": dict.fromkeys(self._paging.fields)}

    def asked(self, position: Position) -> Asked:
        page = {"size": self._paging.size, "token": None}
        return Asked({"last": dict(position["last"]), "page": page}, {})

    def following(self, position: Position, answer: Answer, rows: Sequence[Flat]) -> Position | None:
        paging = self._paging
        if not rows:
            return None
        values = [tuple(row.get(name) for name in paging.fields) for row in rows]
        for row in values:
            if None in row:
                name = paging.fields[row.index(None)]
                raise PageError(f"a record has no {name!r}, by which the pages are asked for (paging.fields)")
        before = tuple(position["last"][name] for name in paging.fields)
        hows = self._hows(values if None in before else [before, *values])
        if None not in hows:
            keys = [tuple(_ordered(value, how) for value, how in zip(row, hows, strict=True)) for row in values]
            for one, two, row in zip(keys, keys[1:], values[1:], strict=False):
                if self._is_ahead(one, two):
                    way = "falling" if paging.newest_first else "rising"
                    raise PageError(
                        f"records do not come in {way} order of {', '.join(paging.fields)} ({', '.join(map(str, row))} "
                        "stands in the wrong place); ask for that order, or set paging.order to how the source compares"
                    )
            if None not in before:
                behind = tuple(_ordered(value, how) for value, how in zip(before, hows, strict=True))
                if keys[-1] == behind or self._is_ahead(behind, keys[-1]):
                    self._require_end(before, rows)
                    return None
        elif None not in before and values[-1] == before:
            self._require_end(before, rows)
            return None
        if paging.short_is_last and len(rows) < (paging.size or 0):
            return None
        return {"last": dict(zip(paging.fields, values[-1], strict=True))}

    def _is_ahead(self, one: Any, two: Any) -> bool:
        """Whether ``one`` comes behind ``two`` in the order that was asked for."""
        return one < two if self._paging.newest_first else one > two

    def _require_end(self, before: tuple[Any, ...], rows: Sequence[Flat]) -> None:
        """Fail where a page with nothing behind the last record cannot be told from a standstill."""
        paging = self._paging
        if paging.size is not None and len(rows) < paging.size:
            return
        raise PageError(
            f"the page behind {', '.join(map(repr, before))} holds nothing behind it: too many records share the "
            f"values of {', '.join(paging.fields)}, or the request does not use last.<field>; add a unique field to "
            "paging.fields, or ask for larger pages"
        )

    def _hows(self, values: Sequence[tuple[Any, ...]]) -> list[str | None]:
        """How each field is compared; None where that is not known."""
        if self._paging.order is not None:
            return [None if how == "none" else how for how in self._paging.order]
        hows: list[str | None] = []
        for column in zip(*values, strict=True):
            for how in ("number", "time", "text"):
                if all(_ordered(value, how) is not None for value in column):
                    hows.append(how)
                    break
        return hows


def _ordered(value: str | None, how: str | None) -> Any:
    """A value as it is compared; None where it cannot be."""
    if value is None:
        return None
    try:
        if how == "number":
            return Decimal(value)
        if how == "time":
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (InvalidOperation, ValueError):
        return None
    return value


class _Numbered:
    def __init__(self, paging: NumberPaging) -> None:
        self._paging = paging

    def first(self) -> Position:
        default = 1 if self._paging.kind == "page" else 0
        return {"at": default if self._paging.first is None else self._paging.first, "rows": 0, "page": 1}

    def asked(self, position: Position) -> Asked:
        paging = self._paging
        params = {paging.param: str(position["at"])} if paging.param else {}
        if paging.size_param:
            params[paging.size_param] = str(paging.size)
        page = {"number": position["at"], "offset": position["at"], "size": paging.size, "token": None}
        return Asked({"page": page}, params)

    def following(self, position: Position, answer: Answer, rows: Sequence[Flat]) -> Position | None:
        """Ends with an empty page, where neither the source's count nor its word comes before."""
        paging = self._paging
        read = position["rows"] + len(rows)
        if not rows:
            return None
        if paging.more is not None and not says_yes(find(paging.more, answer.document)):
            return None
        if paging.pages is not None and position["page"] >= (count(paging.pages, answer) or 0):
            return None
        if paging.total is not None and read >= (count(paging.total, answer) or 0):
            return None
        # A source may give less than it is asked for: an offset moves by what came.
        step = len(rows) if paging.kind == "offset" else 1
        return {"at": position["at"] + step, "rows": read, "page": position["page"] + 1}


def count(path: str, answer: Answer) -> int | None:
    """A count that an answer names; None where it names none."""
    text = as_text(find(path, answer.document))
    try:
        return None if text is None else int(Decimal(text))
    except InvalidOperation:
        return None
