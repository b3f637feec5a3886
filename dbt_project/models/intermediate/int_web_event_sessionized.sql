-- Sessions belong to the visitor, that is the browser: a login in mid-session and a midnight do not split
-- them. All windows share one partition and order, so the engine sorts once for the marks and once for the sum.
with marked as (
    select
        source,
        source_id,
        occurred_at,
        visitor_id,
        login_person_id,
        person_id,
        source_session_id,
        event_name,
        page_path,
        referrer,
        utm_source,
        utm_medium,
        utm_campaign,
        device_category,
        country,
        touchpoint_id,
        stage_id,
        lag(occurred_at) over visit as previous_at,
        lead(occurred_at) over visit as next_at
    from {{ ref('int_web_event_identified') }}
    window
        visit as (
            partition by source, visitor_id, source_session_id
            order by occurred_at asc, source_id asc
        )
),

bounded as (
    select
        *,
        previous_at is null
        or (
            source_session_id is null
            and occurred_at > {{ add_minutes('previous_at', var('session_gap_minutes')) }}
        ) as is_first_in_session,
        next_at is null
        or (
            source_session_id is null
            and next_at > {{ add_minutes('occurred_at', var('session_gap_minutes')) }}
        ) as is_last_in_session
    from marked
)

select
    source,
    source_id,
    occurred_at,
    visitor_id,
    login_person_id,
    person_id,
    source_session_id,
    event_name,
    page_path,
    referrer,
    utm_source,
    utm_medium,
    utm_campaign,
    device_category,
    country,
    touchpoint_id,
    stage_id,
    is_first_in_session,
    is_last_in_session,
    max(case when is_first_in_session then occurred_at end) over (
        partition by source, visitor_id, source_session_id
        order by occurred_at asc, source_id asc
        rows between unbounded preceding and current row
    ) as session_started_at
from bounded
