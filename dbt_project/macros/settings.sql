{# The IANA zone that decides which day an instant belongs to. #}
{% macro business_timezone() -%}
    {{ return(var('business_timezone') or env_var('EXPERIENCE_TIMEZONE', 'Asia/Shanghai')) }}
{%- endmacro %}

{#
    The run as a SQL literal. Read at run time only: an environment variable read while parsing makes dbt
    parse every model again each night.
#}
{% macro run_id() -%}
    {%- if execute -%}
        cast('{{ var("run_id") or env_var("EXPERIENCE_RUN_ID", "") or invocation_id }}' as varchar)
    {%- else -%}
        cast('' as varchar)
    {%- endif -%}
{%- endmacro %}

{# Version of a metric's definition as a SQL literal; it moves when the formula or its rules change. #}
{% macro metric_version(metric) -%}
    {%- set versions = {'nps': '1.0', 'csat': '1.0', 'funnel': '1.0', 'journey_map': '1.0', 'response_rate': '1.0'} -%}
    '{{ versions[metric] }}'
{%- endmacro %}

{# A list of texts as the inside of a SQL IN. #}
{% macro text_list(values) -%}
    {%- for value in values -%}'{{ value }}'{% if not loop.last %}, {% endif %}{%- endfor -%}
{%- endmacro %}
