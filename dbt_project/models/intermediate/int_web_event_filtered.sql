{{ config(materialized='view') }}

select
    source,
    source_id,
    occurred_at,
    -- Without a cookie the login stands for the visitor; an event without any of them is a visit of its own.
    coalesce(anonymous_id, user_id, source_session_id, source_id) as visitor_id,
    {{ fingerprint(['source', 'coalesce(anonymous_id, user_id, source_session_id, source_id)']) }} as visitor_hash,
    anonymous_id,
    user_id,
    case when is_source_session then source_session_id end as source_session_id,
    event_name,
    coalesce(page_path, '') as page_path,
    -- A page of the own site is where the visitor was before, not where it came from.
    case when page_host is null or position(page_host in referrer) = 0 then referrer end as referrer,
    utm_source,
    utm_medium,
    utm_campaign,
    device_category,
    country
from {{ ref('stg_web_event') }}
where not coalesce(is_bot, false)
