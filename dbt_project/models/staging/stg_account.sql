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
    industry,
    segment,
    country,
    region,
    employee_count,
    annual_revenue_amount,
    annual_revenue_currency,
    created_at
from {{ src('account') }}
where not is_deleted
