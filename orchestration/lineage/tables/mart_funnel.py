"""``mart_funnel``: persons of one cohort at one stage, and at the stage before."""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.stage_entries import first_entries
from orchestration.lineage.table import ExplainedTable


def _counts(_: Formulas) -> Mapping[str, str]:
    return {
        "n": "count(*) FILTER (measure = 'n')",
        # The first stage has none before it.
        "n_previous": (
            "CASE WHEN any_value(previous_stage_id) IS NOT NULL THEN count(*) FILTER (measure = 'n_previous') END"
        ),
        "n_reached": "count(*) FILTER (measure = 'n_reached')",
    }


def _scores(formulas: Formulas) -> Mapping[str, str]:
    return {
        "conversion_share": formulas.share("n_reached", "n_previous"),
        "dropoff_share": f"1 - {formulas.share('n_reached', 'n_previous')}",
        "ci_low": formulas.wilson_low("n_reached", "n_previous"),
        "ci_high": formulas.wilson_high("n_reached", "n_previous"),
        "share_of_first": formulas.share("n_reached", "n"),
    }


_REACHED = """
    SELECT counted.measure, person.person_id, counted.stage_id, counted.at
    FROM warehouse.intermediate.int_stage_reached AS person
    JOIN cell
        ON (cell.cohort_kind = 'all' OR person.cohort_date BETWEEN cell.cohort_start_date AND cell.cohort_end_date)
        AND CASE cell.breakdown
            WHEN 'total' THEN true
            WHEN 'channel' THEN person.channel = cell.breakdown_value
            WHEN 'segment' THEN person.segment = cell.breakdown_value
        END,
    LATERAL (
        SELECT 'n' AS measure, person.stage_id AS stage_id, person.reached_at AS at
        WHERE person.previous_stage_id IS NULL
        UNION ALL
        SELECT 'n_previous', person.previous_stage_id, person.previous_reached_at
        WHERE person.stage_id = cell.stage_id AND person.previous_stage_id IS NOT NULL
        UNION ALL
        SELECT 'n_reached', person.stage_id, person.reached_at
        WHERE person.stage_id = cell.stage_id AND person.reached_at IS NOT NULL
    ) AS counted
"""

TABLE = ExplainedTable(
    name="mart_funnel",
    key=("cohort_kind", "cohort_start_date", "breakdown", "breakdown_value", "stage_id"),
    records=f"SELECT entry.*, cell.previous_stage_id FROM ({first_entries(_REACHED)}) AS entry, cell",
    counts=_counts,
    scores=_scores,
)
