"""Rules of the landing gate: did each stream deliver, and as much as it should have.

They read the control table ``load`` (one row an attempt) and the committed manifests. What arrived is judged by
what a stream is: a file stream or a full extract that comes back empty is suspicious, an incremental one with
nothing new is a quiet night. Does not belong here: what the rows say (``clean``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_quality.rules import Dimension, Limits, Rule, Severity, literal, no_rows, reject_duplicates

VOLUME_WINDOW_DAYS = 28
"""How far back a stream's usual volume is looked for."""
MINIMUM_OBSERVATIONS = 2
"""Days of the same weekday that a median needs."""


@dataclass(frozen=True)
class Stream:
    """What the landing rules need to know of a stream.

    Attributes:
        source: Source.
        stream: Stream.
        kind: ``files``, ``sql``, ``http`` or a preset.
        is_incremental: Each extraction brings what changed since the last; False where it brings everything.
        is_required: ``required: true`` in the source's YAML: a failure blocks.
        may_be_empty: ``on_empty: allow``: a delivery without rows is an answer like any other.
        max_drop_share: ``max_drop_share``: fall of the volume that is still believed; None takes the limit of all.
    """

    source: str
    stream: str
    kind: str = "files"
    is_incremental: bool = False
    is_required: bool = False
    may_be_empty: bool = False
    max_drop_share: float | None = None

    @property
    def name(self) -> str:
        """The target table of its rules: ``<source>.<stream>``."""
        return f"{self.source}.{self.stream}"


def landing_rules(
    streams: Sequence[Stream], limits: Limits | None = None, business_timezone: str = "Asia/Shanghai"
) -> list[Rule]:
    """The rules of the landing gate.

    Args:
        streams: Every stream that is to deliver.
        limits: Limits other than the default ones.
        business_timezone: IANA zone that decides the day of a load.
    """
    limits = limits or Limits()
    rules: list[Rule] = []
    for stream in streams:
        rules += _stream_rules(stream, limits, business_timezone)
    return reject_duplicates(rules)


def _stream_rules(stream: Stream, limits: Limits, zone: str) -> list[Rule]:
    of_stream = f"source = {literal(stream.source)} AND stream = {literal(stream.stream)}"
    # A backfill brings old days on command: it says nothing about whether the stream delivers, nor how much.
    of_nights = f"{of_stream} AND kind IS DISTINCT FROM 'backfill'"
    tonight = f"{of_stream} AND run_id = (SELECT run_id FROM gate_run)"
    committed = f"SELECT * FROM load WHERE {of_nights} AND status = 'committed'"
    newest = f"{committed} ORDER BY started_at DESC, load_id DESC LIMIT 1"
    by_need: Severity = "error" if stream.is_required else "warn"
    yaml = f"{stream.source}.yaml"
    drop = limits.volume_drop_warn if stream.max_drop_share is None else stream.max_drop_share

    def rule(  # noqa: PLR0917 - read in columns below
        rule_id: str, query: str, dimension: Dimension, severity: Severity, says: str, mend: str
    ) -> Rule:
        return Rule(
            rule_id=rule_id,
            gate="landing",
            target_table=stream.name,
            table="load",
            expectation=no_rows(query),
            dimension=dimension,
            severity=severity,
            description=f"{stream.name}: {says}",
            mend=mend,
        )

    rules = [
        rule(
            "not_failed",
            f"SELECT source, stream, load_id, error FROM (SELECT * FROM load WHERE {of_nights} "
            "ORDER BY started_at DESC, load_id DESC LIMIT 1) WHERE status = 'failed'",
            "timeliness",
            by_need,
            "the newest load came through; where it failed, the stream is stale and keeps what it had.",
            f"Mend the source or {yaml}; the next load catches up.",
        ),
        rule(
            "fresh",
            f"SELECT source, stream, last_load_at FROM (SELECT {literal(stream.source)} AS source, "
            f"{literal(stream.stream)} AS stream, max(started_at) AS last_load_at FROM load WHERE {of_nights} "
            "AND status IN ('committed', 'unchanged')) WHERE last_load_at IS NULL OR last_load_at < "
            f"(SELECT now FROM gate_run) - INTERVAL {limits.stale_hours:g} HOUR",
            "timeliness",
            by_need,
            f"a load came through within the last {limits.stale_hours:g} hours; otherwise the stream is stale.",
            "See whether the extraction ran.",
        ),
        rule(
            "counts_add_up",
            f"SELECT load_id, rows_read, rows_landed, rows_rejected, rows_suppressed FROM load WHERE {tonight} AND "
            "status = 'committed' AND (rows_read <= rows_landed + rows_rejected + coalesce(rows_suppressed, 0)) "
            "IS NOT TRUE",
            "consistency",
            "error",
            "every row read was landed, rejected or, of an erased person, suppressed; rows that say that a key is gone "
            "may come on top.",
            "Rows were lost on the way in: extract the window again.",
        ),
        rule(
            "manifest_agrees",
            f"SELECT load_id, l.rows_landed AS recorded, m.rows_landed AS in_manifest FROM (SELECT * FROM load WHERE "
            f"{tonight} AND status = 'committed') l LEFT JOIN (SELECT * FROM manifest WHERE {of_stream}) m "
            "USING (load_id) WHERE l.rows_landed IS DISTINCT FROM m.rows_landed OR l.rows_read IS DISTINCT FROM "
            "m.rows_read OR l.rows_rejected IS DISTINCT FROM m.rows_rejected",
            "consistency",
            "error",
            "each committed load has its manifest with the same counts.",
            "The landing and the load table disagree: look for a landing folder that was moved or removed.",
        ),
        rule(
            "volume_as_usual",
            _volume(of_nights, stream.is_incremental, drop, zone),
            "completeness",
            "warn",
            f"the day's rows are less than {drop:.0%} below the median of the same weekday in the "
            f"last {VOLUME_WINDOW_DAYS} days.",
            "Compare with the source's own count.",
        ),
        rule(
            "no_schema_change",
            f"SELECT load_id, schema_change FROM load WHERE {tonight} AND coalesce(schema_change, '') NOT IN "
            "('', '{}', '[]')",
            "consistency",
            "warn",
            "the source has the columns that it had; a new one is landed and goes no further.",
            f"Map the new column in {yaml}, or leave it.",
        ),
    ]
    if not stream.may_be_empty and (stream.kind == "files" or not stream.is_incremental):
        rules.append(
            rule(
                "not_empty",
                _empty_delivery(of_nights, tonight),
                "completeness",
                "error",
                f"the delivery is not empty where one of the last {VOLUME_WINDOW_DAYS} days had rows.",
                "Ask the source for the rows. Where it is right to be empty: "
                + ("run the night again." if stream.kind == "files" else f"say on_empty: allow in {yaml}."),
            )
        )
    if stream.kind == "http":
        rules.append(
            rule(
                "complete",
                "SELECT source, stream, format('{:.1f} % of the window is missing', 100 * missing_share) AS missing, "
                f"cursor_from FROM ({newest}) WHERE missing_share > 0",
                "completeness",
                "warn",
                "the newest load read its whole window; a source's daily budget of requests may end before.",
                "What was read is kept, and the next load goes on where this one ended: with the night, or sooner by "
                f"'experience sources run {stream.name}'. Where it never catches up, see 'experience sources plan "
                f"{stream.name}' and raise connection.budget in {yaml}.",
            )
        )
    for severity, limit in (("warn", limits.rejected_warn), ("error", limits.rejected_error)):
        rules.append(
            rule(
                f"rejected_{severity}",
                f"SELECT load_id, rows_rejected, rows_read FROM ({newest}) WHERE rows_rejected > {limit} * rows_read",
                "completeness",
                severity,  # type: ignore[arg-type]
                f"at most {limit:.0%} of the newest load's rows could not be landed.",
                "Read control.quarantine for the reasons.",
            )
        )
    return rules


def _empty_delivery(of_stream: str, tonight: str) -> str:
    # Where there was nothing new to read, rows_read is null: a quiet night. Zero is an answer.
    return f"""
        SELECT t.load_id, p.rows_read AS rows_before
        FROM (SELECT * FROM load WHERE {tonight} AND rows_read = 0 AND status IN ('committed', 'unchanged')) t,
            (SELECT * FROM load WHERE {of_stream} AND status = 'committed' AND rows_read > 0) p
        WHERE p.started_at < t.started_at AND p.started_at >= t.started_at - INTERVAL {VOLUME_WINDOW_DAYS} DAY
        QUALIFY row_number() OVER (PARTITION BY t.load_id ORDER BY p.started_at DESC, p.load_id) = 1
    """


def _volume(of_stream: str, is_incremental: bool, drop: float, zone: str) -> str:
    # The same rows as last time are a delivery of a full extract; of an increment they are the overlap.
    statuses = "'committed'" if is_incremental else "'committed', 'unchanged'"
    day = f"CAST(timezone({literal(zone)}, timezone('UTC', started_at)) AS DATE)"
    return f"""
        WITH loads AS (
            SELECT {day} AS day, rows_read, run_id = (SELECT run_id FROM gate_run) AS is_tonight
            FROM load WHERE {of_stream} AND status IN ({statuses}) AND rows_read IS NOT NULL
        ), days AS (
            SELECT day, sum(rows_read) AS rows_read, bool_or(is_tonight) AS is_tonight FROM loads GROUP BY day
        )
        SELECT t.day, t.rows_read, median(p.rows_read) AS usual
        FROM days t JOIN days p
            ON p.day < t.day AND p.day >= t.day - {VOLUME_WINDOW_DAYS} AND dayofweek(p.day) = dayofweek(t.day)
        WHERE t.is_tonight
        GROUP BY t.day, t.rows_read
        HAVING count(*) >= {MINIMUM_OBSERVATIONS} AND t.rows_read <= {1 - drop} * median(p.rows_read) + 1e-6
    """
