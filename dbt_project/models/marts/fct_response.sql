{{ config(materialized='incremental', incremental_strategy='touched_responses') }}
-- depends_on: {{ ref('int_answer_scope') }}, {{ ref('int_response_touched') }}
select
    response_key,
    person_id,
    survey_id,
    survey_name,
    survey_kind,
    survey_version,
    touchpoint_id,
    reference_id,
    channel,
    segment,
    country,
    language,
    started_at,
    answered_at,
    answered_date,
    duration_seconds,
    status,
    progress_pct,
    weight,
    is_speeder,
    is_straight_liner,
    is_bot,
    is_duplicate,
    is_kept,
    is_counted,
    source,
    source_id,
    load_id,
    load_row
from {{ ref('int_response_qualified') }}
{%- if answer_scope() == 'touched' %}
where response_key in (select touched.response_key from {{ ref('int_response_touched') }} as touched)
{%- endif %}
