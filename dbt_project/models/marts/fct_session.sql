{{ config(materialized='incremental', incremental_strategy='touched_sessions') }}
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_visitor_touched') }}
select
    session_key,
    person_id,
    {{ surrogate_key(['source', 'visitor_id']) }} as visitor_key,
    login_person_id is not null as is_logged_in,
    started_at,
    ended_at,
    {{ business_date('started_at') }} as started_date,
    {{ seconds_between('started_at', 'ended_at') }} as duration_seconds,
    n_events,
    n_page_views,
    n_page_views <= 1 and n_engagements = 0 as is_bounce,
    n_purchases > 0 as has_purchase,
    nullif(entry_page_path, '') as entry_page_path,
    nullif(exit_page_path, '') as exit_page_path,
    channel,
    entry_utm_source as utm_source,
    entry_utm_medium as utm_medium,
    entry_utm_campaign as utm_campaign,
    entry_device_category as device_category,
    entry_country as country,
    source,
    source_session_id
from {{ ref('int_session_aggregated') }}
{%- if web_scope() == 'touched' %}
where visitor_hash in (select touched.visitor_hash from {{ ref('int_visitor_touched') }} as touched)
{%- endif %}
