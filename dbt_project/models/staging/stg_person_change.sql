select
    run_id,
    changed_at,
    record_table,
    source,
    source_id,
    from_person_id,
    to_person_id,
    change_kind
from {{ src('person_change') }}
