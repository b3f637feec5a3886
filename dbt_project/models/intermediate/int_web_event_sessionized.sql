{{ config(materialized='incremental', incremental_strategy='touched_visitors') }}
{%- set scope, everybody, touched = ref('int_web_scope'), ref('int_web_event_filtered'), ref('int_web_event_touched') %}
{%- set events = everybody if web_scope() == 'all' else touched %}
-- depends_on: {{ ref('int_visitor_touched') }}
{%- set entry_columns = ['referrer', 'utm_source', 'utm_medium', 'utm_campaign', 'device_category', 'country'] -%}
-- The day stands in the join so that a visitor id that many people share, with thousands of sessions, does
-- not meet all of its events with all of its sessions.
with session as (
    select bounded.* from {{ ref('int_session_bounded') }} as bounded
    {%- if web_scope() == 'touched' %}
    inner join {{ ref('int_visitor_touched') }} as touched on bounded.visitor_hash = touched.visitor_hash
    {%- endif %}
),

session_day as (
    select
        *,
        cast(started_at as date) as session_date
    from session
    union all
    select
        session.*,
        spine.date_day as session_date
    from session
    inner join {{ ref('metricflow_time_spine') }} as spine
        on
            cast(session.started_at as date) < spine.date_day
            and cast(session.ended_at as date) >= spine.date_day
    where cast(session.started_at as date) < cast(session.ended_at as date)
)

-- A login says who it is; without one the cookie does, also for events from before the first login. What only
-- the session's first or last instant tells is left empty elsewhere, which makes the table a third as heavy.
select
    event.source,
    event.source_id,
    event.occurred_at,
    session.session_key,
    session.visitor_hash,
    login.person_id as login_person_id,
    coalesce(login.person_id, visitor.person_id) as person_id,
    event.event_name,
    touchpoint.touchpoint_id,
    touchpoint.stage_id,
    case when event.occurred_at = session.started_at then event.page_path end as entry_page_path,
    {%- for column in entry_columns %}
    case when event.occurred_at = session.started_at then event.{{ column }} end as entry_{{ column }},
    {%- endfor %}
    case when event.occurred_at = session.ended_at then event.page_path end as exit_page_path
from {{ events }} as event
inner join session_day as session
    on
        event.source = session.source
        and event.visitor_id = session.visitor_id
        and event.source_session_id is not distinct from session.source_session_id
        and cast(event.occurred_at as date) = session.session_date
        and event.occurred_at between session.started_at and session.ended_at
left join {{ ref('stg_person_record') }} as login
    on
        event.source = login.source
        and event.user_id = login.source_id
        and login.record_table = 'login'
left join {{ ref('stg_person_record') }} as visitor
    on
        event.source = visitor.source
        and event.anonymous_id = visitor.source_id
        and visitor.record_table = 'visitor'
left join {{ ref('int_touchpoint_matched') }} as touchpoint
    on
        event.event_name = touchpoint.event_name
        and event.page_path = touchpoint.page_path
