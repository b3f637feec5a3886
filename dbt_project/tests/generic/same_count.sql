{# Fails where the model and another relation do not have the same number of rows: a join lost or doubled some. #}
{% test same_count(model, other) %}
select *
from (
    select
        (select count(*) from {{ model }}) as row_count,
        (select count(*) from {{ other }}) as other_row_count
) as counts
where row_count <> other_row_count
{% endtest %}
