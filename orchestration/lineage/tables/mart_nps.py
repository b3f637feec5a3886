"""``mart_nps``: votes of one kind in one period and one cell of a breakdown.

Which of several votes of a person counts is decided by ``int_nps_vote_latest``: a vote stands in a window that it lies
in and that its successor does not.
"""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.table import ExplainedTable


def counts(formulas: Formulas) -> Mapping[str, str]:
    """Votes by category."""
    category = formulas.nps_category("score")
    return {
        "n": "count(*)",
        "promoters": f"count(*) FILTER ({category} = 1)",
        "passives": f"count(*) FILTER ({category} = 0)",
        "detractors": f"count(*) FILTER ({category} = -1)",
    }


def scores(formulas: Formulas) -> Mapping[str, str]:
    """Score and interval from the votes."""
    return {
        "nps": formulas.nps_score("promoters", "detractors", "n"),
        "standard_error": formulas.nps_standard_error("promoters", "detractors", "n"),
        "ci_low": formulas.nps_interval_low("promoters", "detractors", "n"),
        "ci_high": formulas.nps_interval_high("promoters", "detractors", "n"),
    }


TABLE = ExplainedTable(
    name="mart_nps",
    key=("nps_kind", "period_kind", "period_start_date", "breakdown", "breakdown_value"),
    records="""
        SELECT 'n' AS measure, response.source_id AS id, 'answer' AS record_table, answer.source, answer.source_id,
            answer.load_id, answer.load_row, vote.vote_date, vote.score
        FROM warehouse.intermediate.int_nps_vote_latest AS vote
        JOIN warehouse.intermediate.int_answer_scored AS answer USING (answer_key)
        JOIN warehouse.intermediate.int_response_qualified AS response ON vote.response_key = response.response_key
        JOIN cell ON vote.nps_kind = cell.nps_kind
        WHERE CASE cell.breakdown
                WHEN 'total' THEN true
                WHEN 'survey' THEN vote.survey_id = cell.breakdown_value
                WHEN 'segment' THEN vote.segment = cell.breakdown_value
                WHEN 'channel' THEN vote.channel = cell.breakdown_value
                WHEN 'touchpoint' THEN vote.touchpoint_id = cell.breakdown_value
                WHEN 'country' THEN vote.country = cell.breakdown_value
            END
            AND CASE cell.period_kind
                WHEN 'all' THEN vote.next_vote_date IS NULL
                ELSE vote.vote_date BETWEEN cell.period_start_date AND cell.period_end_date
                    AND coalesce(vote.next_vote_date > cell.period_end_date, true)
            END
    """,
    counts=counts,
    scores=scores,
)
