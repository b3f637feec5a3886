{{ config(materialized='incremental', incremental_strategy='touched_voters') }}
-- depends_on: {{ ref('int_answer_scope') }}, {{ ref('int_voter_touched') }}
-- One person votes once: of several votes of a person in a period the latest counts. A relational vote is
-- about the whole, a touchpoint vote about its touchpoint, so a person has one vote on each touchpoint.
-- Who is not known counts with every response. A vote is a period's latest one where the person's next vote
-- lies in another period, so next_vote_date alone decides for every kind of period.
with vote as (
    select
        answer_key,
        response_key,
        person_id,
        {{ voter_id() }} as voter_id,
        case
            when question_touchpoint_id is not null or survey_kind = 'transactional' then 'touchpoint'
            else 'relational'
        end as nps_kind,
        coalesce(touchpoint_id, 'unknown') as touchpoint_id,
        survey_id,
        coalesce(segment, 'unknown') as segment,
        coalesce(channel, 'unknown') as channel,
        coalesce(country, 'unknown') as country,
        answered_at,
        answered_date as vote_date,
        score,
        {{ nps_category('score') }} as category,
        weight,
        source,
        source_id
    from {{ ref('int_answer_scored') }}
    where metric = 'nps' and is_valid and is_counted
),

ranked as (
    select
        *,
        row_number() over (
            partition by nps_kind, voter_id, case when nps_kind = 'touchpoint' then touchpoint_id end, vote_date
            order by answered_at desc, source desc, source_id desc
        ) as day_rank
    from vote
    {%- if answer_scope() == 'touched' %}
    where voter_id in (select touched.voter_id from {{ ref('int_voter_touched') }} as touched)
    {%- endif %}
),

daily as (
    select
        *,
        lead(vote_date) over (
            partition by nps_kind, voter_id, case when nps_kind = 'touchpoint' then touchpoint_id end
            order by vote_date
        ) as next_vote_date
    from ranked
    where day_rank = 1
)

select
    answer_key,
    response_key,
    person_id,
    voter_id,
    nps_kind,
    touchpoint_id,
    survey_id,
    segment,
    channel,
    country,
    answered_at,
    vote_date,
    next_vote_date,
    score,
    category,
    case when category = 1 then 1 else 0 end as n_promoters,
    case when category = 0 then 1 else 0 end as n_passives,
    case when category = -1 then 1 else 0 end as n_detractors,
    cast(weight as decimal(19, 8)) as weight,
    {{ is_latest_in('week', 'vote_date', 'next_vote_date') }} as is_latest_of_week,
    {{ is_latest_in('month', 'vote_date', 'next_vote_date') }} as is_latest_of_month,
    {{ is_latest_in('quarter', 'vote_date', 'next_vote_date') }} as is_latest_of_quarter,
    {{ is_latest_in('year', 'vote_date', 'next_vote_date') }} as is_latest_of_year
from daily
