{# A table of the clean layer. Where it lies is known to models/staging/_sources.yml alone. #}
{% macro src(table) -%}
    {{ return(source('clean', table)) }}
{%- endmacro %}

{# A log of touched entities of a clean table: entity or change (orchestration/warehouse/touched.py). #}
{% macro touched_log(table, log) -%}
    {{ return(source('touched', table ~ '_' ~ log)) }}
{%- endmacro %}
