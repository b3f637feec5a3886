"""``mart_response_rate``: invitations sent in one period, in one cell of a breakdown."""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.table import ExplainedTable


def _counts(_: Formulas) -> Mapping[str, str]:
    return {
        "n_sent": "count(*)",
        "n": "sum(n_delivered)",
        "n_complete": "sum(n_complete)",
        "n_partial": "sum(n_partial)",
    }


def _scores(formulas: Formulas) -> Mapping[str, str]:
    return {
        "response_share": formulas.share("n_complete", "n"),
        "ci_low": formulas.wilson_low("n_complete", "n"),
        "ci_high": formulas.wilson_high("n_complete", "n"),
    }


TABLE = ExplainedTable(
    name="mart_response_rate",
    key=("period_kind", "period_start_date", "breakdown", "breakdown_value"),
    records="""
        SELECT 'n_sent' AS measure, invitation.source_id AS id, 'invitation' AS record_table, invitation.source,
            invitation.source_id, invitation.sent_date, invitation.n_delivered, invitation.n_complete,
            invitation.n_partial
        FROM warehouse.intermediate.int_invitation_answered AS invitation, cell
        WHERE CASE cell.breakdown
                WHEN 'total' THEN true
                WHEN 'survey' THEN invitation.survey_id = cell.breakdown_value
                WHEN 'channel' THEN invitation.channel = cell.breakdown_value
                WHEN 'touchpoint' THEN invitation.touchpoint_id = cell.breakdown_value
            END
            AND (cell.period_kind = 'all'
                OR invitation.sent_date BETWEEN cell.period_start_date AND cell.period_end_date)
    """,
    counts=_counts,
    scores=_scores,
)
