select
    source,
    source_id,
    load_id,
    load_row,
    row_hash,
    updated_at,
    extracted_at,
    first_extracted_at,
    is_deleted,
    quality_flags,
    attributes,
    ticket_id,
    occurred_at,
    event_name,
    from_status,
    to_status,
    actor_kind
from {{ src('ticket_event') }}
where not is_deleted
