"""Tables about the warehouse's own work: loads, rejected rows, results of checks."""

from orchestration.contracts.model import Column, Contract, Kind, Partition, Pii

LOAD = Contract(
    name="load",
    domain="control",
    grain="One committed or failed attempt to load a stream",
    description="What each night brought, from the manifests, and which streams failed and why.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("load_id",),
    columns=(
        Column("load_id", Kind.IDENTIFIER, "Load; an attempt that failed has one too.", required=True),
        Column("run_id", Kind.IDENTIFIER, "Run that made it.", required=True),
        Column("source", Kind.IDENTIFIER, "Source.", required=True),
        Column("stream", Kind.IDENTIFIER, "Stream.", required=True),
        Column(
            "status",
            Kind.CATEGORY,
            "committed, unchanged (nothing new) or failed.",
            required=True,
            values=("committed", "unchanged", "failed"),
        ),
        Column("started_at", Kind.TIMESTAMP, "Begin of the extraction.", required=True),
        Column("extracted_at", Kind.TIMESTAMP, "End of the extraction."),
        Column("rows_read", Kind.INTEGER, "Rows the source gave."),
        Column("rows_landed", Kind.INTEGER, "Rows written."),
        Column("rows_rejected", Kind.INTEGER, "Rows that could not be landed."),
        Column("bytes_landed", Kind.INTEGER, "Bytes written."),
        Column("cursor_from", Kind.TEXT, "Lower bound of the window."),
        Column("cursor_to", Kind.TEXT, "Cursor after the load."),
        Column("schema_change", Kind.TEXT, "Columns that came or went since the last load."),
        Column("error", Kind.TEXT, "Why it failed and how to mend it."),
    ),
)

QUARANTINE = Contract(
    name="quarantine",
    domain="control",
    grain="One rejected row",
    description="The row as landed, with field, value and reason; read by SQL, mended at the source or by a mapping.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("target_table", "load_id", "load_row", "field"),
    columns=(
        Column("target_table", Kind.IDENTIFIER, "Contract the row was meant for.", required=True),
        Column("source", Kind.IDENTIFIER, "Source.", required=True),
        Column("stream", Kind.IDENTIFIER, "Stream.", required=True),
        Column("load_id", Kind.IDENTIFIER, "Load.", required=True),
        Column("load_row", Kind.INTEGER, "Row within the load.", required=True),
        Column("source_file", Kind.TEXT, "File the row came from, if any."),
        Column("source_row", Kind.INTEGER, "Line or record number within the file, from 1, if any."),
        Column("source_id", Kind.IDENTIFIER, "Key of the row, if it could be read."),
        Column("field", Kind.IDENTIFIER, "Contract column that failed.", required=True),
        Column("reason", Kind.CATEGORY, "Why, as a short code such as invalid_email.", required=True),
        Column("original_value", Kind.TEXT, "Value as landed.", pii=Pii.FREE_TEXT),
        Column("row_json", Kind.JSON, "The whole row as landed.", pii=Pii.FREE_TEXT),
    ),
)

CHECK_RESULT = Contract(
    name="check_result",
    domain="control",
    grain="One rule on one run",
    description="Outcome of every data-quality rule; a rule without outcome blocks like a failed one.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("run_id", "gate", "target_table", "rule_id"),
    columns=(
        Column("run_id", Kind.IDENTIFIER, "Run.", required=True),
        Column("gate", Kind.CATEGORY, "landing, clean or marts.", required=True, values=("landing", "clean", "marts")),
        Column("target_table", Kind.IDENTIFIER, "Table or stream checked.", required=True),
        Column("rule_id", Kind.IDENTIFIER, "Rule.", required=True),
        Column("column_name", Kind.IDENTIFIER, "Column checked, if one."),
        Column(
            "dimension",
            Kind.CATEGORY,
            "Quality dimension.",
            required=True,
            values=("completeness", "accuracy", "timeliness", "uniqueness", "consistency", "validity"),
        ),
        Column("severity", Kind.CATEGORY, "What a failure does.", required=True, values=("error", "warn")),
        Column(
            "outcome",
            Kind.CATEGORY,
            "What came of it.",
            required=True,
            values=("passed", "failed", "errored", "skipped"),
        ),
        Column("element_count", Kind.INTEGER, "Rows looked at."),
        Column("unexpected_count", Kind.INTEGER, "Rows that failed."),
        Column("observed_value", Kind.TEXT, "What was seen."),
        Column("detail", Kind.TEXT, "Message, with the way to mend it."),
        Column("checked_at", Kind.TIMESTAMP, "When.", required=True),
    ),
)

CONTROL_TABLES = (LOAD, QUARANTINE, CHECK_RESULT)
