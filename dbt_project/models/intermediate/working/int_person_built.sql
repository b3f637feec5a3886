-- How the persons were when their journey was made: the next build compares.
-- depends_on: {{ ref('fct_journey_stage') }}
select
    person_id,
    content_hash
from {{ ref('int_person_fingerprinted') }}
