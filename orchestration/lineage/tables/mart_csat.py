"""``mart_csat``: answers to one question in one period and one cell of a breakdown.

All of it stands in the published facts, so that a release explains itself.
"""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.table import ExplainedTable


def _counts(_: Formulas) -> Mapping[str, str]:
    return {
        "n": "count(*)",
        "n_boxed": "count(is_top_box)",
        # A question without a top box has no count of it.
        "top_box_count": "CASE WHEN count(is_top_box) > 0 THEN count(*) FILTER (is_top_box) END",
        "x": "sum(CAST(score AS DECIMAL(19, 6)))",
        "xx": "sum(CAST(score AS DECIMAL(19, 6)) * CAST(score AS DECIMAL(19, 6)))",
    }


def _scores(formulas: Formulas) -> Mapping[str, str]:
    return {
        "top_box_pct": f"100 * {formulas.share('top_box_count', 'n_boxed')}",
        "ci_low": f"100 * {formulas.wilson_low('top_box_count', 'n_boxed')}",
        "ci_high": f"100 * {formulas.wilson_high('top_box_count', 'n_boxed')}",
        "mean_score": formulas.share("x", "n"),
        "standard_deviation": formulas.standard_deviation("x", "xx", "n"),
    }


TABLE = ExplainedTable(
    name="mart_csat",
    key=(
        "source",
        "survey_id",
        "question_id",
        "metric",
        "period_kind",
        "period_start_date",
        "breakdown",
        "breakdown_value",
    ),
    records="""
        SELECT 'n' AS measure, response.source_id AS id, 'answer' AS record_table, answer.source, answer.source_id,
            answer.load_id, answer.load_row, answer.answered_date, answer.score, answer.is_top_box
        FROM release.fct_answer AS answer
        JOIN release.fct_response AS response USING (response_key)
        JOIN cell
            ON answer.source = cell.source AND answer.survey_id = cell.survey_id
            AND answer.question_id = cell.question_id AND answer.metric = cell.metric
        WHERE answer.is_valid AND answer.is_counted
            AND CASE cell.breakdown
                WHEN 'total' THEN true
                WHEN 'segment' THEN coalesce(response.segment, 'unknown') = cell.breakdown_value
                WHEN 'channel' THEN coalesce(answer.channel, 'unknown') = cell.breakdown_value
                WHEN 'touchpoint' THEN coalesce(answer.touchpoint_id, 'unknown') = cell.breakdown_value
                WHEN 'country' THEN coalesce(response.country, 'unknown') = cell.breakdown_value
            END
            AND (cell.period_kind = 'all'
                OR answer.answered_date BETWEEN cell.period_start_date AND cell.period_end_date)
    """,
    counts=_counts,
    scores=_scores,
    reads_build=False,
)
