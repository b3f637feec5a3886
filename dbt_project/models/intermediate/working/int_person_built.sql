{{ config(materialized='incremental', incremental_strategy='touched_persons') }}
-- How the persons were when their journey was made: the next build compares.
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_person_touched') }}
-- depends_on: {{ ref('fct_journey_stage') }}
select
    person.person_id,
    person.content_hash
from {{ ref('int_person_fingerprinted') }} as person
{{ of_touched_persons('person') }}
