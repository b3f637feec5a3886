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
    response_id,
    survey_id,
    question_id,
    option_id,
    answered_at,
    value_text,
    value_number,
    missing_reason
from {{ src('answer') }}
where not is_deleted
