"""What put a person into a stage, as rows of clean tables: shared by the tables about the journey.

Does not belong here: which entries count for which number (``tables``).
"""

from __future__ import annotations

RECORD_TABLES = """
    CASE {entry}.entry_kind
        WHEN 'first_session' THEN 'web_event'
        WHEN 'delivery' THEN 'sales_order'
        WHEN 'opportunity_won' THEN 'opportunity'
        ELSE {entry}.entry_kind
    END
"""

FIRST_EVENT = """
    SELECT session_key, arg_min(source_id, (occurred_at, source_id)) AS source_id
    FROM warehouse.intermediate.int_web_event_sessionized
    GROUP BY session_key
"""
"""The event that a session begins with: what stands for the session in the clean layer."""


def record_table(entry: str) -> str:
    """SQL of the clean table that an entry of ``int_stage_entry_collected`` came from."""
    return RECORD_TABLES.format(entry=entry).strip()


def first_entries(reached: str) -> str:
    """SQL query of the entry behind each row of ``reached`` (``measure``, ``person_id``, ``stage_id``, ``at``).

    Of several entries at one instant it is the one that the models take. The row of a session is its first event.
    """
    return f"""
        WITH reached AS ({reached}),
        entry AS (
            SELECT reached.measure, reached.person_id, reached.stage_id, reached.at,
                arg_min(struct_pack(entry_kind := entry.entry_kind, source := entry.source,
                    source_id := entry.source_id), (entry.entry_rank, entry.source, entry.source_id)) AS found
            FROM reached
            LEFT JOIN warehouse.intermediate.int_stage_entry_collected AS entry
                ON reached.person_id = entry.person_id AND reached.stage_id = entry.stage_id
                AND reached.at = entry.entered_at
            GROUP BY ALL
        ),
        first_event AS ({FIRST_EVENT})
        SELECT entry.measure, entry.person_id AS id, {record_table("entry.found")} AS record_table,
            entry.found.source AS source, coalesce(first_event.source_id, entry.found.source_id) AS source_id,
            entry.stage_id, entry.at AS reached_at, entry.found.entry_kind AS entry_kind
        FROM entry
        LEFT JOIN first_event
            ON entry.found.entry_kind = 'first_session' AND entry.found.source_id = first_event.session_key
    """
