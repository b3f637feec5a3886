"""The bridge to Dagster: one step a gate, one asset check a family of rules. Alone in knowing Dagster.

Rules of one target table, dimension and severity make one check, named ``validity`` or ``validity_warn``. Checks
at error severity are blocking: Dagster fails the gate's step after all of its results are reported, and runs no
asset behind a checked one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from data_quality.rules import Rule, reject_duplicates

Family = tuple[dg.AssetKey, str]


def check_name(rule: Rule) -> str:
    """Name of the asset check that ``rule`` belongs to: its dimension, with ``_warn`` where it does not block."""
    return rule.dimension if rule.severity == "error" else f"{rule.dimension}_warn"


def table_check_name(rule: Rule) -> str:
    """Name of a check that shares its asset with the checks of other tables: ``customer__uniqueness``."""
    return f"{rule.target_table}__{check_name(rule)}"


def families(
    rules: Sequence[Rule],
    asset_key_of: Callable[[str], dg.AssetKey],
    name_of: Callable[[Rule], str] = check_name,
) -> dict[Family, list[Rule]]:
    """The rules by asset and check name, in their order."""
    grouped: dict[Family, list[Rule]] = {}
    for rule in rules:
        grouped.setdefault((asset_key_of(rule.target_table), name_of(rule)), []).append(rule)
    return grouped


def gate_checks(
    gate: str,
    rules: Sequence[Rule],
    asset_key_of: Callable[[str], dg.AssetKey],
    run: Callable[[str], pl.DataFrame],
    *,
    name_of: Callable[[Rule], str] = check_name,
    pool: str | None = None,
) -> dg.AssetChecksDefinition:
    """All checks of one gate as one step, so that Great Expectations is imported and connected once.

    The step fails closed: rules without a row in what ``run`` gives, with another outcome than ``passed``, or all
    of them where ``run`` raises, fail their check, at error severity blocking.

    Args:
        gate: ``landing``, ``clean`` or ``marts``; the step is called ``<gate>_gate``.
        rules: The gate's rules.
        asset_key_of: Asset that a target table's checks belong to.
        run: Checks every rule of the gate for a run id, and gives rows of the ``check_result`` contract; it may
            record them. Where only some checks are selected, the others' results are computed and not reported.
        name_of: Name of the check that a rule belongs to; rules of one asset, name and severity make one check.
        pool: Dagster pool of the step, if any.

    Raises:
        ValueError: there is no rule, or two have the same identity.
    """
    if not rules:
        raise ValueError(f"the {gate} gate has no rules; a gate without rules cannot pass data")
    grouped = families(reject_duplicates(rules), asset_key_of, name_of)
    specs = [
        dg.AssetCheckSpec(
            name=name,
            asset=asset,
            blocking=members[0].severity == "error",
            description="\n".join(f"- {rule.description}" for rule in members),
            metadata={"gate": gate, "rules": len(members), "severity": members[0].severity},
        )
        for (asset, name), members in grouped.items()
    ]

    @dg.multi_asset_check(name=f"{gate}_gate", specs=specs, can_subset=True, pool=pool)
    def _gate(context) -> Iterator[dg.AssetCheckResult]:
        selected = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
        chosen = {family: members for family, members in grouped.items() if family in selected}
        try:
            found = run(context.run.run_id)
            rows = {(row["gate"], row["target_table"], row["rule_id"]): row for row in found.to_dicts()}
            problem = ""
        except Exception as error:
            context.log.exception("the %s gate could not run; all of its checks fail", gate)
            rows, problem = {}, f"the gate could not run: {error}"
        for (asset, name), members in chosen.items():
            yield _result(asset, name, members, rows, problem)

    return _gate


def _result(
    asset: dg.AssetKey, name: str, members: Sequence[Rule], rows: Mapping[Any, Mapping[str, Any]], problem: str
) -> dg.AssetCheckResult:
    missing = {"outcome": "errored", "detail": problem or "the rule gave no result"}
    results = [(rule, rows.get(rule.identity, missing)) for rule in members]
    not_passed = [(rule, row) for rule, row in results if row["outcome"] != "passed"]
    unexpected = [row.get("unexpected_count") for _, row in results]
    metadata: dict[str, Any] = {
        "rules": len(results),
        "rules not passed": len(not_passed),
        "unexpected": sum(count or 0 for count in unexpected),
        "results": dg.MetadataValue.md(_table(results)),
    }
    blocks = members[0].severity == "error"
    said = [f"{rule.rule_id} {row['outcome']}: {row.get('detail') or rule.description}" for rule, row in not_passed]
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not not_passed,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        description="\n".join(said) or None,
        metadata=metadata,
    )


def _table(results: Sequence[tuple[Rule, Mapping[str, Any]]]) -> str:
    lines = ["| rule | outcome | rows | failing | seen | detail |", "|---|---|---|---|---|---|"]
    for rule, row in results:
        cells = [
            rule.rule_id,
            row["outcome"],
            row.get("element_count"),
            row.get("unexpected_count"),
            row.get("observed_value"),
            row.get("detail"),
        ]
        lines.append("| " + " | ".join("" if cell is None else _cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
