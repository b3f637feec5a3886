select
    record_table,
    source,
    source_id,
    rule,
    value_hash,
    is_blocked,
    block_reason
from {{ src('identity_evidence') }}
