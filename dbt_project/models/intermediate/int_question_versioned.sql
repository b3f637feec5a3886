-- Which declaration holds for a question of a questionnaire version: that of the version itself, else one
-- without a version, else the latest one by name.
with asked as (
    select distinct
        source,
        survey_id,
        coalesce(survey_version, '') as survey_version
    from {{ ref('stg_response') }}
),

ranked as (
    select
        asked.source,
        asked.survey_id,
        asked.survey_version,
        question.question_id,
        question.metric,
        question.scale_min,
        question.scale_max,
        question.scale_direction,
        question.touchpoint_id,
        question.stage_id,
        question.dimension,
        row_number() over (
            partition by asked.source, asked.survey_id, asked.survey_version, question.question_id
            order by
                case
                    when coalesce(question.survey_version, '') = asked.survey_version then 0
                    when question.survey_version is null then 1
                    else 2
                end asc,
                question.survey_version desc nulls last,
                question.source_id asc
        ) as version_rank
    from asked
    inner join {{ ref('stg_question') }} as question
        on
            asked.source = question.source
            and asked.survey_id = question.survey_id
)

select
    source,
    survey_id,
    survey_version,
    question_id,
    metric,
    scale_min,
    scale_max,
    scale_direction,
    touchpoint_id,
    stage_id,
    dimension
from ranked
where version_rank = 1
