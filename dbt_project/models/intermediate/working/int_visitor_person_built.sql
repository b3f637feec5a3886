{{ config(materialized='incremental', incremental_strategy='moved_visitors') }}
-- Whom the visitors and logins belonged to when their sessions were made: the next build compares.
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_visitor_moved') }}
-- depends_on: {{ ref('int_person_built') }}
-- depends_on: {{ ref('fct_session') }}
-- depends_on: {{ ref('int_visitor_login') }}
select
    record.record_table,
    record.source,
    record.source_id,
    record.person_id
from {{ ref('stg_person_record') }} as record
{%- if web_scope() == 'touched' %}
inner join {{ ref('int_visitor_moved') }} as moved
    on
        record.record_table = moved.record_table
        and {{ fingerprint(['record.source', 'record.source_id']) }} = moved.record_hash
{%- endif %}
where record.record_table in ('visitor', 'login')
