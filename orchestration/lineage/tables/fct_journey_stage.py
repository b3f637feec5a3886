"""``fct_journey_stage``: one person's first entry into one stage, from every entry counted."""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.stage_entries import FIRST_EVENT, record_table
from orchestration.lineage.table import ExplainedTable


def _counts(_: Formulas) -> Mapping[str, str]:
    return {"n_entries": "count(*)", "first_entered_at": "min(entered_at)"}


TABLE = ExplainedTable(
    name="fct_journey_stage",
    key=("journey_stage_key",),
    records=f"""
        WITH first_event AS ({FIRST_EVENT})
        SELECT 'n_entries' AS measure, concat_ws(':', entry.entry_kind, entry.source, entry.source_id) AS id,
            {record_table("entry")} AS record_table, entry.source,
            coalesce(first_event.source_id, entry.source_id) AS source_id, entry.entered_at, entry.entry_kind
        FROM warehouse.intermediate.int_stage_entry_collected AS entry
        JOIN cell ON entry.person_id = cell.person_id AND entry.stage_id = cell.stage_id
        LEFT JOIN first_event ON entry.entry_kind = 'first_session' AND entry.source_id = first_event.session_key
    """,
    counts=_counts,
)
