{{ config(materialized='incremental', incremental_strategy='touched_responses') }}
-- depends_on: {{ ref('int_answer_scope') }}, {{ ref('int_response_touched') }}
-- Answers with what their question is measured as. A score has more as better; it is null where the value
-- is missing, off the scale, or not a whole number where votes must be.
with declared as (
    select
        {{ surrogate_key(['answer.source', 'answer.source_id']) }} as answer_key,
        answer.source,
        answer.source_id,
        answer.load_id,
        answer.load_row,
        response.response_key,
        response.person_id,
        answer.survey_id,
        response.survey_kind,
        answer.question_id,
        answer.option_id,
        coalesce(question.metric, 'none') as metric,
        question.scale_min,
        question.scale_max,
        question.scale_direction,
        question.dimension,
        question.stage_id,
        question.touchpoint_id as question_touchpoint_id,
        coalesce(question.touchpoint_id, response.touchpoint_id) as touchpoint_id,
        response.channel,
        response.segment,
        response.country,
        response.answered_at,
        response.answered_date,
        response.weight,
        response.is_counted
        and not (response.is_straight_liner and coalesce(question.metric, 'none') = 'rating') as is_counted,
        answer.value_number,
        answer.missing_reason,
        case
            when answer.missing_reason is not null then false
            when question.metric = 'nps' then {{ is_nps_vote('answer.value_number') }}
            when question.metric in ('csat', 'ces', 'rating')
                then
                    answer.value_number is not null
                    and coalesce(answer.value_number >= question.scale_min, true)
                    and coalesce(answer.value_number <= question.scale_max, true)
            else false
        end as is_valid
    from {{ ref('stg_answer') }} as answer
    inner join {{ ref('int_response_qualified') }} as response
        on
            answer.source = response.source
            and answer.response_id = response.source_id
    {%- if answer_scope() == 'touched' %}
    inner join {{ ref('int_response_touched') }} as touched on response.response_key = touched.response_key
    {%- endif %}
    left join {{ ref('int_question_versioned') }} as question
        on
            answer.source = question.source
            and answer.survey_id = question.survey_id
            and answer.question_id = question.question_id
            and coalesce(response.survey_version, '') = question.survey_version
),

scored as (
    select
        *,
        case
            when is_valid
                then {{ best_upwards('value_number', 'scale_min', 'scale_max', 'scale_direction') }}
        end as score
    from declared
)

select
    *,
    case when scale_min is not null then {{ rescale('score', 'scale_min', 'scale_max') }} end as score_pct,
    {{ is_top_box('metric', 'score', 'scale_min', 'scale_max') }} as is_top_box
from scored
