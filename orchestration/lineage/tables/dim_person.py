"""``dim_person``: one person, from the records that identity resolution joined."""

from collections.abc import Mapping

from orchestration.lineage.formulas import Formulas
from orchestration.lineage.table import ExplainedTable


def _counts(_: Formulas) -> Mapping[str, str]:
    return {
        "n_records": "count(*)",
        "n_customer_records": "count(*) FILTER (record_table = 'customer')",
    }


TABLE = ExplainedTable(
    name="dim_person",
    key=("person_id",),
    # A visitor is a cookie and a login a user id: neither is a row of a clean table.
    records="""
        SELECT 'n_records' AS measure, concat_ws(':', member.record_table, member.source, member.source_id) AS id,
            member.record_table, member.source, member.source_id
        FROM warehouse.staging.stg_person_record AS member
        JOIN cell ON member.person_id = cell.person_id
    """,
    counts=_counts,
)
