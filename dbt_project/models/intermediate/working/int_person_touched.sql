{#
    Whose journey has to be made anew: persons of touched visitors, as the events say now and as the entries said
    before, persons of whom something on record changed, and those whom a build that failed on the way had listed.
    Where everybody's are made anew, nobody is listed.
#}
-- depends_on: {{ ref('int_web_scope') }}
-- depends_on: {{ ref('int_web_event_sessionized') }}
-- depends_on: {{ ref('int_session_aggregated') }}
{%- set person, visitor = ref('int_person_fingerprinted'), ref('int_visitor_touched') %}
{%- if web_scope() == 'touched' %}
{%- set before = adapter.get_relation(target.database, 'working', 'int_person_built') %}
{%- set entries = adapter.get_relation(target.database, 'intermediate', 'int_stage_entry_collected') %}
with touched as (
    {%- for web in (ref('int_web_event_sessionized'), ref('int_session_aggregated'), entries) %}
    select web.person_id
    from {{ web }} as web
    inner join {{ visitor }} as visitor on web.visitor_hash = visitor.visitor_hash
    union
    {%- endfor %}
    {{ listed_in_vain('int_person_touched', 'person_id', 'int_web_built') }}
    union
    select coalesce(person.person_id, before.person_id) as person_id
    from {{ person }} as person
    full join {{ before }} as before on person.person_id = before.person_id
    where person.content_hash is distinct from before.content_hash
)

select
    person_id,
    '{{ invocation_id }}' as invocation_id
from touched
where person_id is not null
{%- else %}
select
    person_id,
    '{{ invocation_id }}' as invocation_id
from {{ person }}
where false
{%- endif %}
