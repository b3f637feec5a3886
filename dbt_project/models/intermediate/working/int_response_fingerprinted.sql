{{ config(materialized='view') }}
-- What int_answer_scored takes from a response, as one number.
select
    response_key,
    {{ fingerprint(['source', 'source_id']) }} as response_hash,
    {{ fingerprint([
        'survey_kind', 'survey_version', 'person_id', 'touchpoint_id', 'channel', 'segment', 'country', 'answered_at',
        'answered_date', 'weight', 'is_counted', 'is_straight_liner',
    ]) }} as content_hash
from {{ ref('int_response_qualified') }}
