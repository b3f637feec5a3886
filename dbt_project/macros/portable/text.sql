{# True where the text holds a match of the regular expression (not only where all of it matches). #}
{% macro matches_regex(column, pattern) -%}
    {{ return(adapter.dispatch('matches_regex')(column, pattern)) }}
{%- endmacro %}

{% macro default__matches_regex(column, pattern) -%}
    {{ column }} rlike {{ pattern }}
{%- endmacro %}

{% macro duckdb__matches_regex(column, pattern) -%}
    regexp_matches({{ column }}, {{ pattern }})
{%- endmacro %}

{# Key of a row made of several columns: md5, hexadecimal; a null part counts as the empty text. #}
{% macro surrogate_key(columns) -%}
    md5(concat_ws('|'
    {%- for column in columns %}, coalesce(cast({{ column }} as varchar), ''){% endfor -%}
    ))
{%- endmacro %}
