{#
    Whole seconds elapsed from one instant to another. Not date_diff: DuckDB counts there the boundaries
    crossed, so that 00:00:00.9 to 00:00:01.1 would be one second.
#}
{% macro seconds_between(from_instant, to_instant) -%}
    {{ return(adapter.dispatch('seconds_between')(from_instant, to_instant)) }}
{%- endmacro %}

{% macro default__seconds_between(from_instant, to_instant) -%}
    timestampdiff(second, {{ from_instant }}, {{ to_instant }})
{%- endmacro %}

{% macro duckdb__seconds_between(from_instant, to_instant) -%}
    date_sub('second', {{ from_instant }}, {{ to_instant }})
{%- endmacro %}

{# Hours elapsed, as double. #}
{% macro hours_between(from_instant, to_instant) -%}
    cast({{ seconds_between(from_instant, to_instant) }} as double) / 3600
{%- endmacro %}

{# Business day of a UTC timestamp. #}
{% macro business_date(instant) -%}
    {{ return(adapter.dispatch('business_date')(instant)) }}
{%- endmacro %}

{% macro default__business_date(instant) -%}
    cast(from_utc_timestamp({{ instant }}, '{{ business_timezone() }}') as date)
{%- endmacro %}

{% macro duckdb__business_date(instant) -%}
    cast(timezone('{{ business_timezone() }}', timezone('UTC', {{ instant }})) as date)
{%- endmacro %}

{# A date so many days later. #}
{% macro add_days(day, days) -%}
    {{ return(adapter.dispatch('add_days')(day, days)) }}
{%- endmacro %}

{% macro default__add_days(day, days) -%}
    date_add({{ day }}, {{ days }})
{%- endmacro %}

{% macro duckdb__add_days(day, days) -%}
    ({{ day }} + cast({{ days }} as integer))
{%- endmacro %}

{# A timestamp so many minutes later; microseconds are kept. #}
{% macro add_minutes(instant, minutes) -%}
    ({{ instant }} + interval '{{ minutes }}' minute)
{%- endmacro %}

{# First day of the calendar period (day, week from Monday, month, quarter, year) that a date lies in. #}
{% macro period_start(kind, day) -%}
    {%- if kind == 'day' -%}{{ day }}{%- else -%}cast(date_trunc('{{ kind }}', {{ day }}) as date){%- endif -%}
{%- endmacro %}

{# Last day of the calendar period that begins on a date. #}
{% macro period_end(kind, first_day) -%}
    {{ return(adapter.dispatch('period_end')(kind, first_day)) }}
{%- endmacro %}

{% macro default__period_end(kind, first_day) -%}
    {%- set months = {'month': 1, 'quarter': 3, 'year': 12} -%}
    {%- if kind == 'day' -%}{{ first_day }}
    {%- elif kind == 'week' -%}{{ add_days(first_day, 6) }}
    {%- else -%}{{ add_days('add_months(' ~ first_day ~ ', ' ~ months[kind] ~ ')', -1) }}{%- endif -%}
{%- endmacro %}

{% macro duckdb__period_end(kind, first_day) -%}
    {%- set months = {'month': 1, 'quarter': 3, 'year': 12} -%}
    {%- if kind == 'day' -%}{{ first_day }}
    {%- elif kind == 'week' -%}{{ add_days(first_day, 6) }}
    {%- else -%}cast({{ first_day }} + interval '{{ months[kind] }}' month - interval '1' day as date){%- endif -%}
{%- endmacro %}

{# 1 for Monday to 7 for Sunday. #}
{% macro iso_day_of_week(day) -%}
    {{ return(adapter.dispatch('iso_day_of_week')(day)) }}
{%- endmacro %}

{% macro default__iso_day_of_week(day) -%}
    (weekday({{ day }}) + 1)
{%- endmacro %}

{% macro duckdb__iso_day_of_week(day) -%}
    isodow({{ day }})
{%- endmacro %}
