{# Quantile with linear interpolation between the two nearest values, as double. #}
{% macro quantile(expression, share) -%}
    {{ return(adapter.dispatch('quantile')(expression, share)) }}
{%- endmacro %}

{% macro default__quantile(expression, share) -%}
    percentile({{ expression }}, {{ share }})
{%- endmacro %}

{% macro duckdb__quantile(expression, share) -%}
    quantile_cont(cast({{ expression }} as double), {{ share }})
{%- endmacro %}

{% macro median(expression) -%}
    {{ quantile(expression, 0.5) }}
{%- endmacro %}

{#
    The value of the row that comes last by the order columns, among rows where it is not null. The order
    columns together must be unique and not null, or the answer is chance.
#}
{% macro latest_by(expression, order_columns) -%}
    {{ return(adapter.dispatch('latest_by')(expression, order_columns)) }}
{%- endmacro %}

{% macro default__latest_by(expression, order_columns) -%}
    max_by({{ expression }}, struct({{ order_columns | join(', ') }})) filter (where {{ expression }} is not null)
{%- endmacro %}

{% macro duckdb__latest_by(expression, order_columns) -%}
    arg_max({{ expression }}, ({{ order_columns | join(', ') }})) filter (where {{ expression }} is not null)
{%- endmacro %}
