{{ config(materialized='incremental', incremental_strategy='touched_visitors') }}
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_visitor_touched') }}
{#
    What a session came by and where it ended is read from the events of its first and last instant; where
    there are several, the greatest value that is not null.
#}
{%- set instant_columns = [
    'entry_page_path', 'entry_referrer', 'entry_utm_source', 'entry_utm_medium', 'entry_utm_campaign',
    'entry_device_category', 'entry_country', 'exit_page_path',
] -%}
with event as (
    select sessionized.* from {{ ref('int_web_event_sessionized') }} as sessionized
    {%- if web_scope() == 'touched' %}
    inner join {{ ref('int_visitor_touched') }} as touched on sessionized.visitor_hash = touched.visitor_hash
    {%- endif %}
),

summed as (
    select
        session_key,
        {%- for column in instant_columns %}
        max({{ column }}) as {{ column }},
        {%- endfor %}
        {{ latest_by('login_person_id', ['occurred_at', 'source_id']) }} as login_person_id,
        -- One visitor is one person unless a login says otherwise.
        max(case when login_person_id is null then person_id end) as visitor_person_id,
        count(*) as n_events,
        count(case when event_name in ({{ text_list(var('page_view_events')) }}) then 1 end) as n_page_views,
        count(case when event_name not in ({{ text_list(var('passive_events')) }}) then 1 end) as n_engagements,
        count(case when event_name in ({{ text_list(var('purchase_events')) }}) then 1 end) as n_purchases
    from event
    group by session_key
)

select
    bounded.source,
    bounded.visitor_id,
    bounded.visitor_hash,
    bounded.source_session_id,
    bounded.started_at,
    bounded.ended_at,
    summed.*,
    coalesce(summed.login_person_id, summed.visitor_person_id) as person_id,
    {{ web_channel('summed.entry_utm_source', 'summed.entry_utm_medium', 'summed.entry_referrer') }} as channel
from summed
inner join {{ ref('int_session_bounded') }} as bounded on summed.session_key = bounded.session_key
