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
    name,
    survey_kind,
    language
from {{ src('survey') }}
where not is_deleted
