{{ config(materialized='incremental', incremental_strategy='touched_persons') }}
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_person_touched') }}
{#
    Ordered funnel over the stages that the stage seed marks: each person's first entry into the first
    stage, then for each stage the earliest entry at or after the one before, within the window.
#}
{%- set window_days = var('funnel_window_days') -%}
with entry as (
    select
        entry.person_id,
        stage.funnel_rank,
        entry.entered_at,
        entry.channel,
        entry.entry_rank,
        entry.source,
        entry.source_id
    from {{ ref('int_stage_entry_collected') }} as entry
    inner join {{ ref('int_funnel_stage') }} as stage on entry.stage_id = stage.stage_id
    {{ of_touched_persons('entry') }}
),

first_entry as (
    select
        *,
        row_number() over (
            partition by person_id
            order by entered_at, entry_rank, source, source_id
        ) as entry_order
    from entry
    where funnel_rank = 1
),

reached_1 as (
    select
        person_id,
        channel as cohort_channel,
        entered_at as cohort_entered_at,
        cast(null as timestamp) as previous_reached_at,
        entered_at as reached_at
    from first_entry
    where entry_order = 1
),

{% for rank in range(2, var('maximum_funnel_stages') + 1) -%}
reached_{{ rank }} as (
    select
        previous.person_id,
        previous.cohort_channel,
        previous.cohort_entered_at,
        previous.reached_at as previous_reached_at,
        min(entry.entered_at) as reached_at
    from reached_{{ rank - 1 }} as previous
    left join entry
        on
            previous.person_id = entry.person_id
            and entry.funnel_rank = {{ rank }}
            and previous.reached_at <= entry.entered_at
            and entry.entered_at <= {{ add_minutes('previous.cohort_entered_at', window_days * 24 * 60) }}
    where previous.reached_at is not null
    group by previous.person_id, previous.cohort_channel, previous.cohort_entered_at, previous.reached_at
),

{% endfor -%}
reached as (
    {% for rank in range(1, var('maximum_funnel_stages') + 1) -%}
    select
        {{ rank }} as funnel_rank,
        *
    from reached_{{ rank }}
    {{ 'union all' if not loop.last }}
    {% endfor -%}
)

select
    reached.person_id,
    stage.stage_id,
    stage.stage_order,
    stage.previous_stage_id,
    reached.cohort_entered_at,
    {{ business_date('reached.cohort_entered_at') }} as cohort_date,
    coalesce(reached.cohort_channel, 'unknown') as channel,
    coalesce(person.segment, 'unknown') as segment,
    reached.previous_reached_at,
    reached.reached_at,
    case when reached.reached_at is not null then 1 else 0 end as n_reached,
    case when stage.previous_stage_id is not null then 1 else 0 end as n_previous
from reached
inner join {{ ref('int_funnel_stage') }} as stage on reached.funnel_rank = stage.funnel_rank
left join {{ ref('int_person_profiled') }} as person on reached.person_id = person.person_id
