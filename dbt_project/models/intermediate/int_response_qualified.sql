-- Which responses metrics count: not previews, not screened out, and none of the quality flags that
-- response_quality leaves out. A straight line alone spoils the battery it was drawn through and nothing else:
-- int_answer_scored leaves its items out.
select
    {{ surrogate_key(['response.source', 'response.source_id']) }} as response_key,
    response.source,
    response.source_id,
    response.load_id,
    response.load_row,
    person_record.person_id,
    response.survey_id,
    survey.name as survey_name,
    survey.survey_kind,
    response.survey_version,
    response.invitation_id,
    response.channel,
    coalesce(response.segment, person.segment) as segment,
    person.country,
    response.language,
    response.touchpoint_id,
    response.reference_id,
    response.started_at,
    response.answered_at,
    {{ business_date('response.answered_at') }} as answered_date,
    response.duration_seconds,
    response.status,
    response.progress_pct,
    response.weight,
    coalesce(quality.is_speeder, false) as is_speeder,
    coalesce(quality.is_straight_liner, false) as is_straight_liner,
    coalesce(quality.is_bot, false) as is_bot,
    coalesce(quality.is_duplicate, false) as is_duplicate,
    coalesce(quality.is_kept, true) as is_kept,
    (
        coalesce(quality.is_kept, true)
        or (
            coalesce(quality.is_straight_liner, false)
            and not coalesce(quality.is_speeder or quality.is_bot or quality.is_duplicate, false)
        )
    )
    and coalesce(response.status not in ('preview', 'screened_out'), true) as is_counted
from {{ ref('stg_response') }} as response
left join {{ ref('stg_survey') }} as survey
    on
        response.source = survey.source
        and response.survey_id = survey.source_id
left join {{ ref('stg_response_quality') }} as quality
    on
        response.source = quality.source
        and response.source_id = quality.source_id
left join {{ ref('stg_person_record') }} as person_record
    on
        response.source = person_record.source
        and response.source_id = person_record.source_id
        and person_record.record_table = 'response'
left join {{ ref('int_person_profiled') }} as person on person_record.person_id = person.person_id
