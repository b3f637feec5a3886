{{ config(materialized='incremental', incremental_strategy='touched_responses') }}
-- How the responses were when their answers were made: the next build compares.
-- depends_on: {{ ref('int_answer_scope') }}, {{ ref('int_response_touched') }}
-- depends_on: {{ ref('int_nps_vote_latest') }}, {{ ref('fct_answer') }}, {{ ref('fct_response') }}
select
    response_key,
    response_hash,
    content_hash
from {{ ref('int_response_fingerprinted') }}
{%- if answer_scope() == 'touched' %}
where response_key in (select touched.response_key from {{ ref('int_response_touched') }} as touched)
{%- endif %}
