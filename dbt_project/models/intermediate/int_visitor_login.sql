{{ config(materialized='incremental', incremental_strategy='touched_visitors') }}
-- depends_on: {{ ref('int_visitor_touched') }}
{%- set scope, everybody, touched = ref('int_web_scope'), ref('int_web_event_filtered'), ref('int_web_event_touched') %}

select distinct
    visitor_hash,
    source,
    user_id
from {{ everybody if web_scope() == 'all' else touched }}
where user_id is not null
