{#
    Fails for each combination of the columns that is not unique in a model that is made anew entity by entity, or that
    holds a null. Where only the rows of touched entities were made anew, theirs are looked for among all: nobody else's
    changed since the test passed.
#}
{% test unique_of_touched(model, columns, entity) %}
{%- set touched, scope = touched_and_scope(entity) %}
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
