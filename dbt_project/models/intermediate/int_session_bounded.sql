{{ config(materialized='incremental', incremental_strategy='touched_visitors') }}
-- depends_on: {{ ref('int_visitor_touched') }}
{%- set scope, everybody, touched = ref('int_web_scope'), ref('int_web_event_filtered'), ref('int_web_event_touched') %}
{%- set events = everybody if web_scope() == 'all' else touched %}
-- Sessions belong to the visitor, that is the browser: a login in mid-session and a midnight do not split
-- them. Only times go through the windows, since sorting whole events costs several times as much; events of
-- one instant are alike here, so the order needs no tie-break.
with timed as (
    select
        source,
        visitor_id,
        visitor_hash,
        source_session_id,
        occurred_at,
        lag(occurred_at) over visit as previous_at,
        lead(occurred_at) over visit as next_at
    from {{ events }}
    window
        visit as (
            partition by source, visitor_id, source_session_id
            order by occurred_at asc
        )
),

bounded as (
    select
        source,
        visitor_id,
        visitor_hash,
        source_session_id,
        occurred_at,
        previous_at is null
        or (
            source_session_id is null
            and occurred_at > {{ add_minutes('previous_at', var('session_gap_minutes')) }}
        ) as is_first,
        next_at is null
        or (
            source_session_id is null
            and next_at > {{ add_minutes('occurred_at', var('session_gap_minutes')) }}
        ) as is_last
    from timed
),

-- First and last events take turns, so the end of a session is the row after its beginning.
paired as (
    select
        source,
        visitor_id,
        visitor_hash,
        source_session_id,
        is_first,
        occurred_at as started_at,
        case
            when is_last then occurred_at
            else lead(occurred_at) over (
                partition by source, visitor_id, source_session_id
                order by occurred_at asc, is_first desc
            )
        end as ended_at
    from bounded
    where is_first or is_last
)

select
    {{ surrogate_key(['source', 'visitor_id', 'source_session_id', 'started_at']) }} as session_key,
    source,
    visitor_id,
    visitor_hash,
    source_session_id,
    started_at,
    ended_at
from paired
where is_first
