"""Which request meets which fault: by seed and number of the request, or by an explicit list.

Belongs here: the choice. Does not belong here: what a fault looks like on the wire (``server``), or in one vendor's
words (the dialects).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

STATUS = ("429_seconds", "429_date", "500", "502", "503")
"""An error in place of the answer; the request is not carried out."""
WIRE = ("reset", "cut_body", "cut_chunked", "cut_unsaid", "slow", "gzip")
"""The answer is right, its way is not; ``gzip`` a server may always use; ``cut_unsaid`` tells no length."""
CONTENT = ("repeated_page", "cursor_loop", "empty_page", "error_in_200", "html")
"""An answer with status 200 that must not be taken for the one asked for; the empty page alone is a right one."""
STATE = ("expired_token", "export_fails", "quota")
"""The source is in another state from here on: tokens are void, a job fails at 99 %, the day's requests are used up."""
CHANGES = ("changed", "moved", "deleted", "inserted")
"""Somebody changes the records before the request is answered."""
KINDS = (*STATUS, *WIRE, *CONTENT, *STATE, *CHANGES)


@dataclass
class FaultPlan:
    """Faults of one run.

    Attributes:
        rates: Kind to its probability at each request.
        at: Number of a request, from 1, to the kind that it meets, or to several.
        seed: Seed of the choice; the same seed gives the same faults at the same numbers.
        only: Expression that the path must match, or all.
        most: How many faults there are at all; None without limit. Changes of records do not count.
        slow_seconds: Pause of a slow answer between its pieces.
        retry_after: Seconds that a 429 asks for.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    at: Mapping[int, str | tuple[str, ...]] = field(default_factory=dict)
    seed: int = 0
    only: str = ""
    most: int | None = None
    slow_seconds: float = 0.002
    retry_after: int = 7
    met: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        listed = {kind for kinds in self.at.values() for kind in ((kinds,) if isinstance(kinds, str) else kinds)}
        if unknown := (set(self.rates) | listed) - set(KINDS):
            raise ValueError(f"no fault is called {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")

    def choose(self, number: int, path: str) -> list[str]:
        """The kinds that request ``number`` meets: any changes of records, and one fault at most."""
        listed = self.at.get(number, ())
        chosen = [listed] if isinstance(listed, str) else list(listed)
        if not chosen and re.search(self.only, path):
            chance = random.Random(f"{self.seed}:{number}")
            drawn = [kind for kind in KINDS if chance.random() < self.rates.get(kind, 0.0)]
            faults = [kind for kind in drawn if kind not in CHANGES]
            if self.most is not None and sum(kind not in CHANGES for _, kind in self.met) >= self.most:
                faults = []
            chosen = [kind for kind in drawn if kind in CHANGES] + faults[:1]
        self.met += [(number, kind) for kind in chosen]
        return chosen

    def calm(self) -> None:
        """No more faults from here on."""
        self.rates, self.at = {}, {}
