"""What follows from the results of the rules. Pure: no I/O, no Dagster, no Great Expectations.

Fail closed: at error severity only a rule that was seen to pass lets data through. One that failed, raised, was
skipped or left no result blocks alike. (Gates that pass a check that errored or was skipped are common; ours is
the opposite on purpose.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import polars as pl

from data_quality.rules import Rule

__all__ = ["Action", "Decision", "Rule", "decide"]


class Action(StrEnum):
    """What to do with the night's data."""

    PUBLISH = "publish"
    PUBLISH_AND_WARN = "publish+warn"
    BLOCK = "block"


@dataclass(frozen=True)
class Decision:
    """What to do and why.

    Attributes:
        action: ``publish``, ``publish+warn`` or ``block``.
        reasons: One sentence a rule that did not pass, those that block first.
    """

    action: Action
    reasons: tuple[str, ...] = ()


def decide(rules: Sequence[Rule], results: pl.DataFrame | Iterable[Mapping[str, Any]]) -> Decision:
    """Hold the rules that should have reported against the results that came.

    The severity is the rule's, never the result's. A rule with several results counts by its worst.

    Args:
        rules: Every rule that should have run.
        results: Rows with ``gate``, ``target_table``, ``rule_id``, ``outcome`` and ``detail`` (the check_result
            contract). An outcome that is not known counts as no result.

    Returns:
        ``block`` where a rule at error severity did not pass, or where there is no rule at all; ``publish+warn``
        where only rules at warn severity did not pass; else ``publish``.
    """
    if not rules:
        return Decision(Action.BLOCK, ("no rule was to be checked; a gate without rules cannot pass data",))
    rows = results.to_dicts() if isinstance(results, pl.DataFrame) else results
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["gate"], row["target_table"], row["rule_id"]), []).append(row)

    blocking: list[str] = []
    warning: list[str] = []
    for rule in rules:
        reason = _reason(rule, found.get(rule.identity, []))
        if reason is not None:
            (blocking if rule.severity == "error" else warning).append(reason)
    if blocking:
        return Decision(Action.BLOCK, (*blocking, *warning))
    return Decision(Action.PUBLISH_AND_WARN, tuple(warning)) if warning else Decision(Action.PUBLISH)


def _reason(rule: Rule, rows: Sequence[Mapping[str, Any]]) -> str | None:
    worst = next((row for row in rows if row["outcome"] != "passed"), None)
    if rows and worst is None:
        return None
    outcome = worst["outcome"] if worst is not None else None
    said = outcome if outcome in ("failed", "errored", "skipped") else "gave no result"
    detail = (worst or {}).get("detail") or rule.description
    return f"{rule.gate} {rule.target_table}.{rule.rule_id} {said}: {detail}"
