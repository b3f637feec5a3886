{# A table of the clean layer. Where it lies is known to models/staging/_sources.yml alone. #}
{% macro src(table) -%}
    {{ return(source('clean', table)) }}
{%- endmacro %}
