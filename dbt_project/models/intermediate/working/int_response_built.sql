-- How the responses were when their answers were made: the next build compares.
-- depends_on: {{ ref('int_answer_scored') }}
-- depends_on: {{ ref('fct_answer') }}
select
    response_key,
    response_hash,
    content_hash
from {{ ref('int_response_fingerprinted') }}
