"""``fct_session``: one session, from the events of one visitor."""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.table import ExplainedTable


def _counts(_: Formulas) -> Mapping[str, str]:
    return {"n_events": "count(*)", "started_at": "min(occurred_at)", "ended_at": "max(occurred_at)"}


TABLE = ExplainedTable(
    name="fct_session",
    key=("session_key",),
    records="""
        SELECT 'n_events' AS measure, event.source_id AS id, 'web_event' AS record_table, event.source, event.source_id,
            event.occurred_at
        FROM warehouse.intermediate.int_web_event_sessionized AS event
        JOIN cell ON event.session_key = cell.session_key
    """,
    counts=_counts,
)
