"""Tables about the warehouse's own work: loads, rejected rows, results of checks, cost of steps, retention."""

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

STEP_METRIC = Contract(
    name="step_metric",
    domain="control",
    grain="One step of one run",
    description="What each step of a night cost and gave; kept for nights that failed or were killed too.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("run_id", "step"),
    columns=(
        Column("run_id", Kind.IDENTIFIER, "Run.", required=True),
        Column("step", Kind.IDENTIFIER, "Step of the job.", required=True),
        Column(
            "layer",
            Kind.IDENTIFIER,
            "Layer of its assets: landing, clean, identity, dbt, gates, published.",
            required=True,
        ),
        Column("status", Kind.CATEGORY, "What came of it.", required=True, values=("success", "failure")),
        Column("started_at", Kind.TIMESTAMP, "Begin of the step, by the computer's clock.", required=True),
        Column("seconds", Kind.NUMBER, "Elapsed time, in seconds.", required=True, minimum=0),
        Column(
            "cpu_seconds",
            Kind.NUMBER,
            "CPU time of the process and its ended children since the step before ended; of a process's first step, "
            "since that began.",
            required=True,
            minimum=0,
        ),
        Column(
            "peak_memory_bytes",
            Kind.INTEGER,
            "Largest resident memory of the process up to the end of the step; null where the system does not tell.",
            minimum=0,
        ),
        Column("rows", Kind.INTEGER, "Rows landed, or rows of the tables after the step; null where not counted."),
        Column("bytes_written", Kind.INTEGER, "Bytes of the files written; null where not counted."),
    ),
)

RETENTION = Contract(
    name="retention",
    domain="control",
    grain="One kind of kept data in one run",
    description="What retention by policy removed, and what the policy was.",
    partition=Partition.WHOLE,
    is_source_table=False,
    key=("run_id", "kept_kind", "subject"),
    columns=(
        Column("run_id", Kind.IDENTIFIER, "Run that enforced the policy.", required=True),
        Column(
            "kept_kind",
            Kind.CATEGORY,
            "What is kept.",
            required=True,
            values=("landing", "clean", "quarantine", "control", "releases", "run_history", "logs"),
        ),
        Column("subject", Kind.IDENTIFIER, "Source or table that the policy is about, or 'all'.", required=True),
        Column("policy", Kind.TEXT, "The policy, such as '90 days'; null where all is kept for ever."),
        Column("before_at", Kind.TIMESTAMP, "What is older was removed; null where the policy is no age."),
        Column("removed_count", Kind.INTEGER, "Loads, partitions, files, releases or runs removed.", required=True),
        Column("removed_rows", Kind.INTEGER, "Rows that were in them; null where not counted."),
        Column("freed_bytes", Kind.INTEGER, "Bytes of the files removed."),
        Column("enforced_at", Kind.TIMESTAMP, "When.", required=True),
    ),
)

CONTROL_TABLES = (LOAD, QUARANTINE, CHECK_RESULT, STEP_METRIC, RETENTION)
