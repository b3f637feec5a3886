{{ config(materialized='view') }}

-- A login says who it is; without one the cookie does, also for events from before the first login.
select
    event.source,
    event.source_id,
    event.occurred_at,
    coalesce(event.anonymous_id, event.user_id, event.source_session_id, event.source_id) as visitor_id,
    login.person_id as login_person_id,
    coalesce(login.person_id, visitor.person_id) as person_id,
    case when event.is_source_session then event.source_session_id end as source_session_id,
    event.event_name,
    event.page_path,
    -- A page of the own site is where the visitor was before, not where it came from.
    case
        when event.page_host is null or position(event.page_host in event.referrer) = 0 then event.referrer
    end as referrer,
    event.utm_source,
    event.utm_medium,
    event.utm_campaign,
    event.device_category,
    event.country,
    touchpoint.touchpoint_id,
    touchpoint.stage_id
from {{ ref('stg_web_event') }} as event
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
        and coalesce(event.page_path, '') = touchpoint.page_path
where not coalesce(event.is_bot, false)
