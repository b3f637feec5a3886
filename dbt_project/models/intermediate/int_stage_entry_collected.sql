{{ config(materialized='incremental', incremental_strategy='touched_persons') }}
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_person_touched') }}
-- What enters a person into a stage (docs/metrics/funnel.md). A row from a session's start comes before one
-- from a rule at the same instant, so that the first entry carries the channel the person came by.
with web as (
    select
        event.person_id,
        event.visitor_hash,
        event.stage_id,
        event.touchpoint_id,
        event.occurred_at as entered_at,
        'web_event' as entry_kind,
        event.source,
        event.source_id
    from {{ ref('int_web_event_sessionized') }} as event
    {{ of_touched_persons('event') }}
    where event.stage_id is not null and event.person_id is not null
),

first_session as (
    select
        session.person_id,
        session.visitor_hash,
        session.channel,
        session.started_at as entered_at,
        session.source,
        session.session_key as source_id,
        row_number() over (
            partition by session.person_id
            order by session.started_at, session.session_key
        ) as session_rank
    from {{ ref('int_session_aggregated') }} as session
    {{ of_touched_persons('session') }}
    where session.person_id is not null
)

select
    web.person_id,
    web.visitor_hash,
    web.stage_id,
    web.touchpoint_id,
    touchpoint.channel_id as channel,
    web.entered_at,
    web.entry_kind,
    2 as entry_rank,
    web.source,
    web.source_id
from web
left join {{ ref('touchpoint') }} as touchpoint on web.touchpoint_id = touchpoint.touchpoint_id

union all

select
    person_id,
    visitor_hash,
    'awareness' as stage_id,
    case when channel = 'search' then 'search' when channel in ('ad', 'social', 'email') then 'campaign' end
        as touchpoint_id,
    channel,
    entered_at,
    'first_session' as entry_kind,
    1 as entry_rank,
    source,
    source_id
from first_session
where session_rank = 1

union all

select
    recorded.person_id,
    null as visitor_hash,
    recorded.stage_id,
    recorded.touchpoint_id,
    recorded.channel,
    recorded.entered_at,
    recorded.entry_kind,
    recorded.entry_rank,
    recorded.source,
    recorded.source_id
from {{ ref('int_stage_entry_recorded') }} as recorded
{{ of_touched_persons('recorded') }}
