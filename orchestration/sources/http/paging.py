"""From one page to the next: where a sequence begins, what a request needs of its position, and when it ends.

A position is plain JSON, so that a load can go on from it another day. Does not belong here: sending (``client``) and
reconciling page numbers (``engine``).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

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
_LINK_NEXT = re.compile(
    r"""<([^>]*)>(?:[^,"]|"[^"]*")*?;\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next(?=[\s;,]|$))""", re.IGNORECASE
)


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
        url = urljoin(answer.url, link)
        if self._paging.same_host:
            host = urlsplit(answer.url)
            url = urlsplit(url)._replace(scheme=host.scheme, netloc=host.netloc).geturl()
        return {"url": url}


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
        columns = [[row.get(name) for row in rows] for name in paging.fields]
        for name, column in zip(paging.fields, columns, strict=True):
            if None in column:
                raise PageError(f"a record has no {name!r}, by which the pages are asked for (paging.fields)")
        last = tuple(column[-1] for column in columns)
        before = tuple(position["last"][name] for name in paging.fields)
        is_first = None in before
        compared = self._compared(columns if is_first else [[b, *c] for b, c in zip(before, columns, strict=True)])
        if compared is not None:
            keys = list(zip(*compared, strict=True))
            behind = None if is_first else keys.pop(0)
            in_order = operator.ge if paging.newest_first else operator.le
            if not all(map(in_order, keys, keys[1:])):
                at = next(number for number, pair in enumerate(pairwise(keys), 1) if not in_order(*pair))
                way = "falling" if paging.newest_first else "rising"
                raise PageError(
                    f"records do not come in {way} order of {', '.join(paging.fields)} "
                    f"({', '.join(str(column[at]) for column in columns)} stands in the wrong place); ask for that "
                    "order, or set paging.order to how the source compares"
                )
            if behind is not None and in_order(keys[-1], behind):
                self._require_end(before, rows)
                return None
        elif not is_first and last == before:
            self._require_end(before, rows)
            return None
        if paging.short_is_last and len(rows) < (paging.size or 0):
            return None
        return {"last": dict(zip(paging.fields, last, strict=True))}

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

    def _compared(self, columns: Sequence[Sequence[str | None]]) -> list[list[Any]] | None:
        """Each column as it is compared; None where the source's order cannot be told from the text."""
        order = self._paging.order
        if order is not None and "none" in order:
            return None
        found = []
        for number, column in enumerate(columns):
            ways = ("number", "time", "text") if order is None else (order[number],)
            ordered = next((values for how in ways if (values := _ordered(column, how)) is not None), None)
            if ordered is None:
                raise PageError(
                    f"{self._paging.fields[number]!r} holds {column[-1]!r}, which is no {ways[0]}; correct paging.order"
                )
            found.append(ordered)
        return found


def _ordered(column: Sequence[str | None], how: str) -> list[Any] | None:
    """Values as they are compared; None where one of them cannot be."""
    texts = [str(text) for text in column]
    try:
        match how:
            case "number":
                numbers = list(map(Decimal, texts))
                return numbers if all(map(Decimal.is_finite, numbers)) else None
            case "time":
                moments = list(map(datetime.fromisoformat, texts))
                return [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments]
    except (InvalidOperation, ValueError):
        return None
    return texts


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
        # Behind a full page one more is asked for: a count may stop at ten thousand where the records do not.
        is_counted = paging.total is not None and read >= (count(paging.total, answer) or 0)
        if is_counted and len(rows) < paging.size:
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
