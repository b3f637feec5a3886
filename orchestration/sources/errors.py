"""The two errors of this layer, and what their messages share: what was caught on one line, the nearest known name.

Does not belong here: messages of one reader; those stand where the fault is found.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

WRITTEN_OUT = (
    "is written out, so everybody who can read this file could read it; write {env: NAME} or {file: path} and put the "
    "value there"
)
"""What is wrong with a secret that stands in a YAML as a text."""


class ConfigError(ValueError):
    """A source YAML that cannot be used; the message names file, key and the way to mend it."""


class SourceError(Exception):
    """A stream that could not be loaded; nothing was committed and the cursor did not move.

    Attributes:
        transient: True where the same attempt may succeed in a minute (a database that restarts).
    """

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


def one_line(error: object, most: int = 300) -> str:
    """What an error says, on one line of at most ``most`` letters."""
    return " ".join(str(error).split())[:most]


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to ``count`` of ``known`` that look like ``name``, the best first; case does not matter."""
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), candidate)
    lower = name.lower()
    found = difflib.get_close_matches(lower, by_lower, n=count, cutoff=0.5)
    # A part of a longer name scores low in difflib but is what people mean by "email" and "email_addr".
    found += [
        other for other in by_lower if other not in found and len(lower) > 2 and (lower in other or other in lower)
    ]
    return [by_lower[other] for other in found[:count]]


def suggest(name: str, known: Iterable[str], what: str = "known") -> str:
    """``did you mean 'x'?`` for the nearest of ``known``, else the list of them."""
    known = list(known)
    if found := nearest(name, known, 1):
        return f"did you mean {found[0]!r}?"
    if not known:
        return f"nothing is {what} here"
    return f"{what}: {', '.join(sorted(known)[:30])}"
