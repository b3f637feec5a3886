{{ config(materialized='incremental', incremental_strategy='touched_responses') }}
-- depends_on: {{ ref('int_answer_scope') }}, {{ ref('int_response_touched') }}
select
    answer_key,
    response_key,
    person_id,
    survey_id,
    question_id,
    option_id,
    metric,
    dimension,
    stage_id,
    touchpoint_id,
    channel,
    answered_at,
    answered_date,
    value_number,
    missing_reason,
    is_valid,
    is_counted,
    score,
    score_pct,
    is_top_box,
    weight,
    source,
    source_id,
    load_id,
    load_row
from {{ ref('int_answer_scored') }}
{%- if answer_scope() == 'touched' %}
where response_key in (select touched.response_key from {{ ref('int_response_touched') }} as touched)
{%- endif %}
