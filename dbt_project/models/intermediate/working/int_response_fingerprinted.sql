{{ config(materialized='view') }}
-- How a response came out, as one number.
select
    response_key,
    {{ fingerprint(['source', 'source_id']) }} as response_hash,
    {{ fingerprint([
        'load_id', 'load_row', 'person_id', 'survey_id', 'survey_name', 'survey_kind', 'survey_version',
        'invitation_id', 'channel', 'segment', 'country', 'language', 'touchpoint_id', 'reference_id', 'started_at',
        'answered_at', 'answered_date', 'duration_seconds', 'status', 'progress_pct', 'weight', 'is_speeder',
        'is_straight_liner', 'is_bot', 'is_duplicate', 'is_kept', 'is_counted',
    ]) }} as content_hash
from {{ ref('int_response_qualified') }}
