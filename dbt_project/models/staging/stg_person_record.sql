select
    record_table,
    source,
    source_id,
    person_id,
    first_extracted_at
from {{ src('person_record') }}
