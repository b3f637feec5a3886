{# Fails for each combination of the columns that is not unique, or that holds a null with not_null: true. #}
{% test unique_key(model, columns, not_null=false) %}
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {% if not_null -%}
    {% for column in columns %}or {{ column }} is null {% endfor %}
    {%- endif %}
{% endtest %}
