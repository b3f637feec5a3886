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
    survey_id,
    customer_source,
    customer_id,
    email,
    phone,
    channel,
    touchpoint_id,
    sent_at,
    response_id,
    status
from {{ src('invitation') }}
where not is_deleted
