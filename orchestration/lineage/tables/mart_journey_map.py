"""``mart_journey_map``: who was seen at one touchpoint, what happened there and how it was rated."""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.stage_entries import record_table
from orchestration.lineage.table import ExplainedTable


def _counts(formulas: Formulas) -> Mapping[str, str]:
    category = formulas.nps_category("score")
    measures = ("n_persons", "n_sessions", "n_orders", "n_tickets", "nps_n", "csat_n")
    return {
        **{name: f"count(*) FILTER (measure = '{name}')" for name in measures},
        "promoters": f"count(*) FILTER (measure = 'nps_n' AND {category} = 1)",
        "detractors": f"count(*) FILTER (measure = 'nps_n' AND {category} = -1)",
        "top_box_count": "count(*) FILTER (measure = 'csat_n' AND is_top_box)",
    }


def _scores(formulas: Formulas) -> Mapping[str, str]:
    return {
        "nps": formulas.nps_score("promoters", "detractors", "nps_n"),
        "nps_ci_low": formulas.nps_interval_low("promoters", "detractors", "nps_n"),
        "nps_ci_high": formulas.nps_interval_high("promoters", "detractors", "nps_n"),
        "csat_top_box_pct": f"100 * {formulas.share('top_box_count', 'csat_n')}",
        "csat_ci_low": f"100 * {formulas.wilson_low('top_box_count', 'csat_n')}",
        "csat_ci_high": f"100 * {formulas.wilson_high('top_box_count', 'csat_n')}",
    }


_TRACES = f"""
    trace AS (
        SELECT event.person_id, event.session_key, 'web_event' AS record_table, event.source, event.source_id,
            event.occurred_at AS seen_at
        FROM warehouse.intermediate.int_web_event_sessionized AS event JOIN cell USING (touchpoint_id)
        UNION ALL
        SELECT entry.person_id, NULL, {record_table("entry")}, entry.source, entry.source_id, entry.entered_at
        FROM warehouse.intermediate.int_stage_entry_collected AS entry JOIN cell USING (touchpoint_id)
        WHERE entry.entry_kind <> 'first_session'
        UNION ALL
        SELECT entry.person_id, NULL, 'web_event', event.source, event.source_id, entry.entered_at
        FROM warehouse.intermediate.int_stage_entry_collected AS entry JOIN cell USING (touchpoint_id)
        JOIN warehouse.intermediate.int_web_event_sessionized AS event
            ON entry.source_id = event.session_key AND entry.entered_at = event.occurred_at
        WHERE entry.entry_kind = 'first_session'
        UNION ALL
        SELECT response.person_id, NULL, 'response', response.source, response.source_id, response.answered_at
        FROM warehouse.intermediate.int_response_qualified AS response JOIN cell USING (touchpoint_id)
    ),
    first_trace AS (
        SELECT measure, id, unnest(arg_min(struct_pack(record_table := record_table, source := source,
            source_id := source_id), (seen_at, record_table, source, source_id)))
        FROM (
            SELECT 'n_persons' AS measure, person_id AS id, * FROM trace
            UNION ALL
            SELECT 'n_sessions', session_key, * FROM trace
        )
        WHERE id IS NOT NULL
        GROUP BY measure, id
    )
"""

TABLE = ExplainedTable(
    name="mart_journey_map",
    key=("touchpoint_id",),
    # A person or a session is shown by its first trace at the touchpoint.
    records=f"""
        WITH {_TRACES}
        SELECT measure, id, record_table, source, source_id, CAST(NULL AS VARCHAR) AS load_id,
            CAST(NULL AS BIGINT) AS load_row, CAST(NULL AS DOUBLE) AS score, CAST(NULL AS BOOLEAN) AS is_top_box
        FROM first_trace
        UNION ALL
        SELECT 'n_orders', entry.source_id, 'sales_order', entry.source, entry.source_id, NULL, NULL, NULL, NULL
        FROM warehouse.intermediate.int_stage_entry_collected AS entry JOIN cell USING (touchpoint_id)
        WHERE entry.entry_kind = 'sales_order'
        UNION ALL
        SELECT 'n_tickets', ticket.source_id, 'ticket', ticket.source, ticket.source_id, ticket.load_id,
            ticket.load_row, NULL, NULL
        FROM warehouse.intermediate.int_ticket_timed AS ticket JOIN cell
            ON coalesce(ticket.touchpoint_id, 'support') = cell.touchpoint_id
        UNION ALL
        SELECT 'nps_n', response.source_id, 'answer', answer.source, answer.source_id, answer.load_id, answer.load_row,
            vote.score, NULL
        FROM warehouse.intermediate.int_nps_vote_latest AS vote
        JOIN cell ON vote.touchpoint_id = cell.touchpoint_id
        JOIN warehouse.intermediate.int_answer_scored AS answer USING (answer_key)
        JOIN warehouse.intermediate.int_response_qualified AS response ON vote.response_key = response.response_key
        WHERE vote.nps_kind = 'touchpoint' AND vote.next_vote_date IS NULL
        UNION ALL
        SELECT 'csat_n', response.source_id, 'answer', answer.source, answer.source_id, answer.load_id,
            answer.load_row, answer.score, answer.is_top_box
        FROM warehouse.intermediate.int_answer_scored AS answer
        JOIN cell ON answer.touchpoint_id = cell.touchpoint_id
        JOIN warehouse.intermediate.int_response_qualified AS response ON answer.response_key = response.response_key
        WHERE answer.metric IN ('csat', 'rating') AND answer.is_valid AND answer.is_counted
            AND answer.is_top_box IS NOT NULL
    """,
    counts=_counts,
    scores=_scores,
    hidden_by={"nps_n": "is_nps_suppressed", "csat_n": "is_csat_suppressed"},
)
