"""Rules of the clean gate: what the contracts promise, and what the business expects of it.

The contracts give keys, required columns, categories, shapes and bounds; references, order of times, rejects and
the quality of responses are declared below. Does not belong here: how values are normalised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from data_quality.rules import (
    Dimension,
    Expectation,
    Limits,
    Rule,
    Severity,
    between,
    in_set,
    literal,
    matches,
    no_rows,
    not_null,
    quote,
    reject_duplicates,
    unique,
)
from orchestration.contracts import COMMON_COLUMNS, CONTRACTS, DERIVED, Column, Contract, Kind

SHAPES: dict[Kind, tuple[str, Severity, str]] = {
    Kind.EMAIL: (r"^[^@\s]+@[^@\s]+\.[^@\s.]+$", "error", "has the shape of an e-mail address"),
    Kind.PHONE: (r"^\+[1-9][0-9]{5,14}$", "error", "is in E.164"),
    Kind.COUNTRY: (r"^[A-Z]{2}$", "error", "is an ISO 3166-1 alpha-2 code"),
    Kind.CURRENCY: (r"^[A-Z]{3}$", "error", "is an ISO 4217 code"),
    Kind.LANGUAGE: (r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$", "warn", "is a BCP 47 tag"),
}
"""Regular expression, severity and meaning of the kinds that have a shape. Normalising makes the shapes, so that a
value without it is a fault of ours."""


@dataclass(frozen=True)
class Reference:
    """Rows of ``child`` name rows of ``parent``.

    Attributes:
        child: Table that refers.
        columns: Its columns, in the order of ``parent_columns``.
        parent: Table referred to.
        parent_columns: The columns that name its rows.
        is_vital: Metrics lose the rows without a parent: blocks from ``Limits.orphans_error`` on.
        same_source: Both rows come from one source.
    """

    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...] = ("source_id",)
    is_vital: bool = False
    same_source: bool = True


REFERENCES = (
    Reference("answer", ("response_id",), "response", is_vital=True),
    Reference("answer", ("survey_id", "question_id"), "question", ("survey_id", "question_id"), is_vital=True),
    Reference("question", ("survey_id",), "survey", is_vital=True),
    Reference("response", ("survey_id",), "survey", is_vital=True),
    Reference("response", ("invitation_id",), "invitation", same_source=False),
    Reference("invitation", ("survey_id",), "survey", same_source=False),
    Reference("invitation", ("response_id",), "response", same_source=False),
    Reference("ticket_event", ("ticket_id",), "ticket", is_vital=True),
    Reference("customer", ("account_id",), "account"),
    Reference("opportunity", ("account_id",), "account"),
    Reference("response_quality", ("source_id",), "response", is_vital=True),
    *(
        Reference(table, ("customer_source", "customer_id"), "customer", ("source", "source_id"), same_source=False)
        for table in ("opportunity", "sales_order", "invitation", "response", "ticket", "comment")
    ),
)

ORDERED_TIMES = (
    ("sales_order", "ordered_at", "delivered_at"),
    ("opportunity", "created_at", "closed_at"),
    ("response", "started_at", "answered_at"),
    ("ticket", "opened_at", "first_response_at"),
    ("ticket", "opened_at", "resolved_at"),
    ("ticket", "opened_at", "closed_at"),
)
"""Table, the earlier time, the later one."""

EXTRACTION_TIMES = ("extracted_at", "first_extracted_at")


def clean_rules(limits: Limits | None = None) -> list[Rule]:
    """The rules of the clean gate, for every table that a source fills or that is derived from those."""
    limits = limits or Limits()
    rules: list[Rule] = []
    for contract in (CONTRACTS | DERIVED).values():
        rules += contract_rules(contract)
    for contract in CONTRACTS.values():
        rules += _rejected(contract, limits)
        rules += _not_in_the_future(contract, limits)
    for reference in REFERENCES:
        rules += _reference(reference, limits)
    rules += [_ordered(*names, limits) for names in ORDERED_TIMES]
    rules += _survey_rules(limits)
    return reject_duplicates(rules)


def contract_rules(contract: Contract) -> list[Rule]:
    """What one contract promises: its key, required columns, categories, shapes and bounds."""
    key = ", ".join(contract.key)
    rules = [
        Rule(
            "key_unique",
            "clean",
            contract.name,
            unique(contract.key),
            "uniqueness",
            "error",
            f"No two rows of {contract.name} share {key}.",
            mend="Deduplication failed: rebuild the table from the landing.",
        )
    ]
    if contract.is_source_table:
        rules.append(_lineage(contract))
    for column in contract.columns:
        rules += _column_rules(contract, column)
    return [replace(rule, key=contract.key) for rule in rules]


def _lineage(contract: Contract) -> Rule:
    # One rule for the columns that every table carries: a rule each would be a third of all rules.
    names = [column.name for column in COMMON_COLUMNS if column.required]
    missing = ", ".join(f"CASE WHEN {quote(name)} IS NULL THEN {literal(name)} END" for name in names)
    anyone = " OR ".join(f"{quote(name)} IS NULL" for name in names)
    return Rule(
        "lineage_present",
        "clean",
        contract.name,
        no_rows(
            f"SELECT source, source_id, concat_ws('+', {missing}) AS is_null FROM {quote(contract.name)} "
            f"WHERE {anyone}",
            by_row=True,
        ),
        "completeness",
        "error",
        f"Every row of {contract.name} has {', '.join(names)}.",
        mend="Rebuild the table from the landing.",
    )


def _column_rules(contract: Contract, column: Column) -> list[Rule]:
    def rule(rule_id: str, expectation: Expectation, dimension: Dimension, severity: Severity, says: str) -> Rule:
        return Rule(
            f"{column.name}_{rule_id}",
            "clean",
            contract.name,
            expectation,
            dimension,
            severity,
            f"{contract.name}.{column.name} {says}.",
            column=column.name,
            mend="Normalising should have rejected the row or nulled the value.",
        )

    rules = []
    if column.required:
        rules.append(rule("present", not_null(column.name), "completeness", "error", "is never null"))
    if column.values is not None:
        listed = ", ".join(column.values)
        rules.append(rule("known", in_set(column.name, column.values), "validity", "error", f"is one of {listed}"))
    if column.kind in SHAPES:
        regex, severity, says = SHAPES[column.kind]
        rules.append(rule("shape", matches(column.name, regex), "validity", severity, says))
    if column.minimum is not None or column.maximum is not None:
        bounds = between(column.name, column.minimum, column.maximum)
        low = "" if column.minimum is None else f" from {column.minimum:g}"
        high = "" if column.maximum is None else f" up to {column.maximum:g}"
        rules.append(rule("in_range", bounds, "validity", "error", f"lies in the range{low}{high}"))
    return rules


def _rejected(contract: Contract, limits: Limits) -> list[Rule]:
    # The newest load of each stream counts until the next one: a night without news does not make it better.
    rules = []
    for severity, limit in (("warn", limits.rejected_warn), ("error", limits.rejected_error)):
        # A log without the time of its changes repeats its keys as a matter of course: said, but no reason to stop.
        counted = " AND reason IS DISTINCT FROM 'duplicate_key'" if severity == "error" else ""
        query = f"""
            WITH newest AS (
                SELECT source, stream, load_id, rows_landed FROM load WHERE status = 'committed'
                QUALIFY row_number() OVER (PARTITION BY source, stream ORDER BY started_at DESC, load_id DESC) = 1
            ), rejected AS (
                SELECT source, stream, load_id, count(DISTINCT load_row) AS rows_rejected
                FROM quarantine WHERE target_table = {literal(contract.name)}{counted} GROUP BY ALL
            )
            SELECT source, stream, load_id, rows_rejected, rows_landed FROM newest JOIN rejected
            USING (source, stream, load_id) WHERE rows_rejected > {limit} * coalesce(rows_landed, 0)
        """
        rules.append(
            Rule(
                f"rejected_{severity}",
                "clean",
                contract.name,
                no_rows(query),
                "completeness",
                severity,  # type: ignore[arg-type]
                f"At most {limit:.0%} of the rows of each stream's newest load are in quarantine.",
                table="load",
                mend="Count them by field and reason in control.quarantine (duplicate_key: name the whole key in "
                "primary_key, or map updated_at so that the latest version is known).",
            )
        )
    return rules


def _not_in_the_future(contract: Contract, limits: Limits) -> list[Rule]:
    times = [
        column.name
        for column in contract.all_columns
        if column.kind is Kind.TIMESTAMP and column.name not in EXTRACTION_TIMES
    ]
    late = " OR ".join(f"{quote(name)} > extracted_at + INTERVAL {limits.future_hours:g} HOUR" for name in times)
    event = contract.event_time
    rules = [
        Rule(
            "not_in_the_future",
            "clean",
            contract.name,
            no_rows(f"SELECT source, source_id FROM {quote(contract.name)} WHERE {late}", by_row=True),
            "accuracy",
            "warn",
            f"No time of {contract.name} lies more than {limits.future_hours:g} hours after its extraction.",
            mend="Look at the source's clock, the zone in its YAML and the order of day and month.",
        )
    ]
    if event is not None:
        query = (
            f"SELECT source, source_id FROM {quote(contract.name)} "
            f"WHERE {quote(event)} > extracted_at + INTERVAL {limits.future_hours:g} HOUR"
        )
        rules.append(
            Rule(
                f"{event}_not_in_the_future",
                "clean",
                contract.name,
                no_rows(query, by_row=True),
                "accuracy",
                "error",
                f"{contract.name}.{event}, by which days are counted, does not lie after its extraction.",
                minimum_share=1 - limits.rejected_error,
                mend="So many at once are a wrong zone or a wrong date format in the source's YAML.",
            )
        )
    return rules


def _reference(reference: Reference, limits: Limits) -> list[Rule]:
    child, parent = quote(reference.child), quote(reference.parent)
    pairs = list(zip(reference.columns, reference.parent_columns, strict=True))
    on = [
        f"coalesce(c.{quote(mine)}, c.source) = p.{quote(theirs)}"
        if mine == "customer_source"
        else f"c.{quote(mine)} = p.{quote(theirs)}"
        for mine, theirs in pairs
    ]
    if reference.same_source:
        on.append("c.source = p.source")
    stated = [f"c.{quote(mine)} IS NOT NULL" for mine, _ in pairs if mine != "customer_source"]
    if CONTRACTS.get(reference.child) is not None:
        stated.append("NOT c.is_deleted")
    if not reference.is_vital:
        # Nobody feeds the parent here: then the reference is a label, not a fault.
        stated.append(f"EXISTS (SELECT 1 FROM {parent} WHERE NOT is_deleted)")
    query = (
        f"SELECT c.source, c.source_id FROM {child} AS c ANTI JOIN {parent} AS p ON {' AND '.join(on)} "
        f"WHERE {' AND '.join(stated)}"
    )
    column = reference.columns[-1]
    warn = Rule(
        f"{column}_exists",
        "clean",
        reference.child,
        no_rows(query),
        "consistency",
        "warn",
        f"{reference.child}.{column} names a row of {reference.parent}.",
        column=column,
        minimum_share=1 - limits.orphans_warn,
        mend=f"Load {reference.parent} from the same time on, or see what of it lies in quarantine.",
    )
    if not reference.is_vital:
        return [warn]
    return [
        warn,
        replace(warn, rule_id=f"{column}_exists_error", severity="error", minimum_share=1 - limits.orphans_error),
    ]


def _ordered(table: str, earlier: str, later: str, limits: Limits) -> Rule:
    return Rule(
        f"{later}_after_{earlier}",
        "clean",
        table,
        no_rows(f"SELECT source, source_id FROM {quote(table)} WHERE {quote(later)} < {quote(earlier)}", by_row=True),
        "consistency",
        "warn",
        f"{table}.{later} is not before {earlier}.",
        column=later,
        minimum_share=1 - limits.orphans_warn,
        mend="Look at the zones and the date formats of both fields in the source's YAML.",
    )


def _survey_rules(limits: Limits) -> list[Rule]:
    return [
        Rule(
            "scale_declared",
            "clean",
            "question",
            no_rows(
                "SELECT source, source_id FROM question WHERE metric IN ('nps', 'csat', 'ces', 'rating') "
                "AND (scale_min IS NULL OR scale_max IS NULL OR scale_min >= scale_max) AND NOT is_deleted"
            ),
            "validity",
            "error",
            "A question that is measured declares its scale.",
            column="scale_max",
            mend="Declare scale: {min: …, max: …} for the question in the source's YAML.",
        ),
        Rule(
            "nps_scale",
            "clean",
            "question",
            no_rows(
                "SELECT source, source_id FROM question WHERE metric = 'nps' AND NOT is_deleted "
                "AND (scale_min <> 0 OR scale_max <> 10)"
            ),
            "validity",
            "error",
            "A question that counts as NPS has the scale 0 to 10.",
            column="metric",
            mend="Declare another metric: NPS is defined on 0 to 10 only.",
        ),
        Rule(
            "value_on_scale",
            "clean",
            "answer",
            no_rows(
                "SELECT a.source, a.source_id FROM answer AS a JOIN question AS q ON a.source = q.source AND "
                "a.survey_id = q.survey_id AND a.question_id = q.question_id WHERE NOT q.is_deleted AND "
                "q.metric IN ('nps', 'csat', 'ces', 'rating') AND "
                "(a.value_number < q.scale_min OR a.value_number > q.scale_max)"
            ),
            "validity",
            "error",
            "An answer lies on the scale of its question.",
            column="value_number",
            mend="Declare the code as missing, or mend the scale, in the source's YAML.",
        ),
        Rule(
            "value_or_reason",
            "clean",
            "answer",
            no_rows(
                "SELECT a.source, a.source_id FROM answer AS a ANTI JOIN (SELECT * FROM question WHERE metric = "
                "'text') AS q ON a.source = q.source AND a.survey_id = q.survey_id AND a.question_id = q.question_id "
                "WHERE a.value_number IS NULL AND a.value_text IS NULL AND a.missing_reason IS NULL AND "
                "a.option_id IS NULL"
            ),
            "completeness",
            "warn",
            "An answer has a value or the reason why it has none.",
            mend="Declare the missing codes of the question in the source's YAML.",
        ),
        Rule(
            "quality_known",
            "clean",
            "response",
            no_rows(
                "SELECT r.source, r.source_id FROM response AS r ANTI JOIN response_quality AS q "
                "ON r.source = q.source AND r.source_id = q.source_id WHERE NOT r.is_deleted"
            ),
            "completeness",
            "error",
            "Every response has its quality flags; metrics leave out one without.",
            mend="Materialise response_quality again.",
        ),
        Rule(
            "given_in_earnest",
            "clean",
            "response_quality",
            no_rows("SELECT source, source_id FROM response_quality WHERE NOT is_kept"),
            "accuracy",
            "warn",
            "Responses are not sped through, straight-lined, doubled or scripted.",
            column="is_kept",
            minimum_share=1 - limits.discarded_warn,
            mend="Look for a flood of scripted responses before trusting a change of the scores.",
        ),
        Rule(
            "person_known",
            "clean",
            "customer",
            no_rows(
                "SELECT c.source, c.source_id FROM customer AS c ANTI JOIN person_record AS p ON "
                "p.record_table = 'customer' AND c.source = p.source AND c.source_id = p.source_id "
                "WHERE NOT c.is_deleted"
            ),
            "consistency",
            "error",
            "Every customer record belongs to a person.",
            mend="Materialise the identity tables again.",
        ),
    ]
