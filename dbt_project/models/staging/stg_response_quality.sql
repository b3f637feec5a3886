select
    source,
    source_id,
    is_speeder,
    is_straight_liner,
    longest_string,
    response_variability,
    is_bot,
    is_duplicate,
    is_kept
from {{ src('response_quality') }}
