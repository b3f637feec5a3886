{{ config(materialized='incremental', incremental_strategy='moved_visitors') }}
-- Whom the visitors and logins belonged to when their sessions were made: the next build compares.
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_visitor_moved') }}
-- depends_on: {{ ref('int_person_built') }}
-- depends_on: {{ ref('fct_session') }}
-- depends_on: {{ ref('int_visitor_login') }}
select
    record_table,
    source,
    source_id,
    person_id
from {{ ref('int_visitor_moved') if web_scope() == 'touched' else ref('stg_person_record') }}
where record_table in ('visitor', 'login') and person_id is not null
