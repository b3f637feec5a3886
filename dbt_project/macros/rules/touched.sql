{#
    Models that are made anew entity by entity (docs/decisions/0011): those of area 'web' by visitor and, behind them,
    by person, those of area 'answer' by response. Each area has int_<area>_scope, which decides once a build, tables of
    the touched entities, and int_<area>_built, which says at its end what was built upon.
#}

{# What a build makes of an area: 'all' entities or the 'touched' ones. A model that asks must depend on the scope. #}
{% macro web_scope() -%}
    {{ return(scope_of('int_web_scope')) }}
{%- endmacro %}

{% macro answer_scope() -%}
    {{ return(scope_of('int_answer_scope')) }}
{%- endmacro %}

{% macro scope_of(asked_model) -%}
    {%- if execute and not flags.FULL_REFRESH and not is_missing_increment() -%}
        {%- set scope = load_relation(ref(asked_model)) -%}
        {%- if scope is not none -%}
            {{ return(run_query('select scope from ' ~ scope).columns[0].values()[0]) }}
        {%- endif -%}
    {%- endif -%}
    {{ return('all') }}
{%- endmacro %}

{# Whether the model is one of those, and its table is gone: what a scope says of the others does not hold for it. #}
{% macro is_missing_increment() -%}
    {{ return(
        model.resource_type == 'model'
        and model.config.materialized == 'incremental'
        and load_relation(this) is none
    ) }}
{%- endmacro %}

{#
    One row: what a build makes of an area, and on what it builds. The last build is built upon where the log of
    touched entities still holds the change that it ended with, and where neither DuckDB's hashes nor anything else
    that decides about an entity has changed. A build of all entities that did not come to its end is not built upon:
    it listed nobody, and what it was for may have changed back.

    table: table of the clean layer whose log is read.
    built: relation with what the last build ended with, or none where it cannot be built upon.
    settings: query of one row and column, settings: a text that differs where an entity would come out otherwise.
#}
{% macro scope_query(table, built, settings) -%}
{%- set before = load_relation(this) -%}
{%- set known = adapter.get_columns_in_relation(before) | map(attribute='name') | list if built and before else [] -%}
with log as (
    select
        max(sequence) as sequence,
        max_by(token, sequence) as token,
        min(probe) as lowest_probe,
        max(probe) as highest_probe
    from {{ touched_log(table, 'change') }}
),

rule as (
    {{ settings }}
),

-- Nothing where the last build cannot be built upon.
built as (
    {% if 'invocation_id' in known -%}
    select
        state.sequence,
        state.settings
    from {{ built }} as state
    inner join {{ touched_log(table, 'change') }} as change
        on
            state.sequence = change.sequence
            and state.token = change.token
    inner join {{ before }} as build
        on
            build.scope = 'touched'
            or build.invocation_id = state.invocation_id
    {%- else -%}
    select
        sequence,
        token as settings
    from log
    where false
    {%- endif %}
)

select
    case
        when
            built.settings = rule.settings
            and log.lowest_probe = {{ fingerprint(["'probe'", "'probe'"]) }}
            and log.highest_probe = {{ fingerprint(["'probe'", "'probe'"]) }}
            then 'touched'
        else 'all'
    end as scope,
    built.sequence as built_sequence,
    log.sequence,
    log.token,
    rule.settings,
    '{{ invocation_id }}' as invocation_id
from log
cross join rule
left join built on true
{%- endmacro %}

{#
    What the last build that came to its end built on: none where there was none, where a table that it made is gone,
    or where a full refresh is asked for.

    state: model that holds it.
    tables: every table that is built upon, to its schema; a schema 'marts' is the published database.
#}
{% macro built_upon(state, tables) -%}
    {%- if execute and not flags.FULL_REFRESH -%}
        {%- set found = [adapter.get_relation(target.database, 'working', state)] -%}
        {%- for name, schema in tables.items() -%}
            {%- if schema == 'marts' -%}
                {%- do found.append(adapter.get_relation('marts', target.schema, name)) -%}
            {%- else -%}
                {%- do found.append(adapter.get_relation(target.database, schema, name)) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- if none not in found -%}{{ return(found[0]) }}{%- endif -%}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{#
    Entities that a build listed which did not come to its end: half of its tables may have forgotten them, and they
    may have changed back since. Reads the table that the model is about to take the place of.

    touched: model that lists entities, with the invocation_id of the build. entity: its column.
    state: model that holds what the last build ended with, with its invocation_id.
#}
{% macro listed_in_vain(touched, entity, state) -%}
    select listed.{{ entity }}
    from {{ adapter.get_relation(target.database, 'working', touched) }} as listed
    inner join {{ adapter.get_relation(target.database, 'working', state) }} as ended
        on listed.invocation_id <> ended.invocation_id
{%- endmacro %}

{# A log of touched entities names them by the fingerprint of source and key (orchestration/warehouse/touched.py). #}
{% macro fingerprint(columns) -%}
    {{ return(adapter.dispatch('fingerprint')(columns)) }}
{%- endmacro %}

{% macro default__fingerprint(columns) -%}
    xxhash64({{ columns | join(', ') }})
{%- endmacro %}

{% macro duckdb__fingerprint(columns) -%}
    hash({{ columns | join(', ') }})
{%- endmacro %}

{#
    Incremental strategies: what the table holds of entities that were touched goes, what the model gives takes its
    place. Also right for entities of whom nothing is left.
#}
{% macro get_incremental_touched_visitors_sql(arg_dict) -%}
    {{ overwrite_entities(arg_dict, 'visitor_hash') }}
{%- endmacro %}

{% macro get_incremental_touched_persons_sql(arg_dict) -%}
    {{ overwrite_entities(arg_dict, 'person_id') }}
{%- endmacro %}

{% macro get_incremental_touched_responses_sql(arg_dict) -%}
    {{ overwrite_entities(arg_dict, 'response_key') }}
{%- endmacro %}

{% macro get_incremental_touched_voters_sql(arg_dict) -%}
    {{ overwrite_entities(arg_dict, 'voter_id') }}
{%- endmacro %}

{% macro get_incremental_moved_visitors_sql(arg_dict) -%}
    {%- set goes -%}
        (record_table, {{ fingerprint(['source', 'source_id']) }}) in (
            select (record_table, record_hash) from {{ ref('int_visitor_moved') }}
        )
    {%- endset -%}
    {{ overwrite(arg_dict, goes, web_scope()) }}
{%- endmacro %}

{# A published session does not say by its hash whose it is: what goes is what comes anew, and what there is no more. #}
{% macro get_incremental_touched_sessions_sql(arg_dict) -%}
    {%- set goes -%}
        session_key in (select session_key from {{ arg_dict['temp_relation'] }})
        or session_key not in (select session_key from {{ ref('int_session_aggregated') }})
    {%- endset -%}
    {{ overwrite(arg_dict, goes, web_scope()) }}
{%- endmacro %}

{# A join that keeps the rows of touched persons, where only theirs are made anew. #}
{% macro of_touched_persons(alias) -%}
    {%- if web_scope() == 'touched' -%}
    inner join {{ ref('int_person_touched') }} as touched on {{ alias }}.person_id = touched.person_id
    {%- endif -%}
{%- endmacro %}

{# The model that lists touched entities, and the one that says whether only theirs are made anew; by their column. #}
{% macro touched_and_scope(entity) -%}
    {{ return({
        'visitor_hash': ('int_visitor_touched', 'int_web_scope'),
        'person_id': ('int_person_touched', 'int_web_scope'),
        'response_key': ('int_response_touched', 'int_answer_scope'),
        'voter_id': ('int_voter_touched', 'int_answer_scope'),
    }[entity]) }}
{%- endmacro %}

{% macro overwrite_entities(arg_dict, entity) -%}
    {%- set touched, scope = touched_and_scope(entity) -%}
    {{ overwrite(arg_dict, entity ~ ' in (select ' ~ entity ~ ' from ' ~ ref(touched) ~ ')', scope_of(scope)) }}
{%- endmacro %}

{# What fits the condition 'goes' goes, or all of it; what the model gives takes its place. #}
{% macro overwrite(arg_dict, goes, scope) -%}
    {%- set columns = arg_dict['dest_columns'] | map(attribute='quoted') | join(', ') -%}
    delete from {{ arg_dict['target_relation'] }}
    {%- if scope == 'touched' %}
    where {{ goes }}
    {%- endif %};
    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}
