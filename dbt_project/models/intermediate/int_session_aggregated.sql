with session as (
    select
        source,
        visitor_id,
        source_session_id,
        session_started_at as started_at,
        max(occurred_at) as ended_at,
        count(*) as n_events,
        count(case when event_name in ({{ text_list(var('page_view_events')) }}) then 1 end) as n_page_views,
        count(case when event_name not in ({{ text_list(var('passive_events')) }}) then 1 end) as n_engagements,
        count(case when event_name in ({{ text_list(var('purchase_events')) }}) then 1 end) as n_purchases,
        {{ latest_by('login_person_id', ['occurred_at', 'source_id']) }} as login_person_id,
        -- One visitor is one person unless a login says otherwise.
        max(case when login_person_id is null then person_id end) as visitor_person_id,
        {% for column in [
            'page_path', 'referrer', 'utm_source', 'utm_medium', 'utm_campaign', 'device_category', 'country',
        ] -%}
        max(case when is_first_in_session then {{ column }} end) as entry_{{ column }},
        {% endfor -%}
        max(case when is_last_in_session then page_path end) as exit_page_path
    from {{ ref('int_web_event_sessionized') }}
    group by source, visitor_id, source_session_id, session_started_at
)

select
    {{ surrogate_key(['source', 'visitor_id', 'source_session_id', 'started_at']) }} as session_key,
    *,
    coalesce(login_person_id, visitor_person_id) as person_id,
    {{ web_channel('entry_utm_source', 'entry_utm_medium', 'entry_referrer') }} as channel
from session
