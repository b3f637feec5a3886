{# A table of the clean layer. Where it lies is known to models/staging/_sources.yml alone. #}
{% macro src(table) -%}
    {{ return(source('clean', table)) }}
{%- endmacro %}

{# The log of touched visitors: entity or change (orchestration/warehouse/touched.py). #}
{% macro touched_log(table) -%}
    {{ return(source('touched', table)) }}
{%- endmacro %}
