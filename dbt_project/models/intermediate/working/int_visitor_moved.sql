{#
    Visitors and logins whom identity resolution has given another person since the last build, or none. By hash: who was
    erased is not kept here.
#}
{%- set persons_before = adapter.get_relation(target.database, 'working', 'int_visitor_person_built') -%}
with person as (
    select * from {{ ref('stg_person_record') }}
    where record_table in ('visitor', 'login')
),

before as (
    select * from {{ persons_before or 'person' }}
)

select distinct
    coalesce(person.record_table, before.record_table) as record_table,
    {{ fingerprint(['coalesce(person.source, before.source)', 'coalesce(person.source_id, before.source_id)']) }}
        as record_hash
from person
full join before
    on
        person.record_table = before.record_table
        and person.source = before.source
        and person.source_id = before.source_id
where person.person_id is distinct from before.person_id
