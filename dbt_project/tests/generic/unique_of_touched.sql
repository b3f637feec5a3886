{#
    Fails for each combination of the columns that is not unique in a model that is made anew entity by entity, or that
    holds a null. Where only the rows of touched entities were made anew, theirs are looked for among all: nobody else's
    changed since the test passed.
#}
{% test unique_of_touched(model, columns, entity) %}
{%- set touched, scope = {
    'visitor_hash': ('int_visitor_touched', 'int_web_scope'),
    'person_id': ('int_person_touched', 'int_web_scope'),
    'response_key': ('int_response_touched', 'int_answer_scope'),
    'voter_id': ('int_voter_touched', 'int_answer_scope'),
}[entity] %}
-- depends_on: {{ ref(touched) }}, {{ ref(scope) }}
{%- set key = columns | join(', ') %}
select
    {{ key }},
    count(*) as row_count
from {{ model }}
{%- if scope_of(scope) == 'touched' %}
where
    ({{ key }}) in (
        select {{ '(' ~ key ~ ')' if columns | length > 1 else key }}
        from {{ model }}
        where {{ entity }} in (select touched.{{ entity }} from {{ ref(touched) }} as touched)
    )
    {%- for column in columns %}
    or {{ column }} is null
    {%- endfor %}
{%- endif %}
group by {{ key }}
having
    count(*) > 1
    {%- for column in columns %}
    or {{ column }} is null
    {%- endfor %}
{% endtest %}
