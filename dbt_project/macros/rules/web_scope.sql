{#
    What the models that are made visitor by visitor make this time: 'all' visitors, or the 'touched' ones of
    int_visitor_touched. Decided once a build, by int_web_scope; a model that asks must depend on it.
#}
{% macro web_scope() -%}
    {%- if execute -%}
        {%- set asked = ref('int_web_scope') -%}
        {%- set scope = adapter.get_relation(asked.database, asked.schema, asked.identifier) -%}
        {%- if scope is not none -%}
            {{ return(run_query('select scope from ' ~ scope).columns[0].values()[0]) }}
        {%- endif -%}
    {%- endif -%}
    {{ return('all') }}
{%- endmacro %}

{#
    What the last build that came to its end built on (int_web_built): none where there was none, where a table
    that it made is gone, or where a full refresh is asked for.
#}
{% macro web_built() -%}
    {%- if execute and not flags.FULL_REFRESH -%}
        {%- set tables = {
            'int_web_built': 'working', 'int_visitor_person_built': 'working', 'int_session_bounded': 'intermediate',
            'int_web_event_sessionized': 'intermediate', 'int_session_aggregated': 'intermediate',
            'int_visitor_login': 'intermediate',
        } -%}
        {%- set found = [] -%}
        {%- for name, schema in tables.items() -%}
            {%- do found.append(adapter.get_relation(target.database, schema, name)) -%}
        {%- endfor -%}
        {%- if none not in found -%}{{ return(found[0]) }}{%- endif -%}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{# What a visitor is known by in the log of touched visitors: as orchestration/warehouse/touched.py computes it. #}
{% macro visitor_hash(source, visitor_id) -%}
    {{ return(adapter.dispatch('visitor_hash')(source, visitor_id)) }}
{%- endmacro %}

{% macro default__visitor_hash(source, visitor_id) -%}
    xxhash64({{ source }}, {{ visitor_id }})
{%- endmacro %}

{% macro duckdb__visitor_hash(source, visitor_id) -%}
    hash({{ source }}, {{ visitor_id }})
{%- endmacro %}

{#
    Incremental strategy 'touched_visitors': what the table holds of visitors that were touched goes, what the model
    gives takes its place. Also right for visitors of whom nothing is left.
#}
{% macro get_incremental_touched_visitors_sql(arg_dict) -%}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    delete from {{ arg_dict['target_relation'] }}
    {%- if web_scope() == 'touched' %}
    where visitor_hash in (select visitor_hash from {{ ref('int_visitor_touched') }})
    {%- endif %};
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}
