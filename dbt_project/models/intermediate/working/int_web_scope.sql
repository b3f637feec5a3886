{#
    The last build is built upon where the log of touched visitors still holds the change that it ended with, and where
    neither DuckDB's hashes nor anything that decides about a visitor's sessions has changed.
#}
{%- set built = web_built() -%}
{%- set settings = [
    var('session_gap_minutes'), var('page_view_events'), var('passive_events'), var('purchase_events'),
] | tojson -%}
with log as (
    select
        max(sequence) as sequence,
        max_by(token, sequence) as token,
        min(probe) as lowest_probe,
        max(probe) as highest_probe
    from {{ touched_log('change') }}
),

rule as (
    select
        md5(concat(
            '{{ settings }}',
            string_agg(
                concat_ws('|', rule_order, event_name_pattern, page_path_pattern, touchpoint_id, stage_id), ';'
                order by rule_order
            )
        )) as settings
    from {{ ref('touchpoint_rule') }}
),

-- Nothing where the last build cannot be built upon.
built as (
    {% if built -%}
    select
        state.sequence,
        state.settings
    from {{ built }} as state
    inner join {{ touched_log('change') }} as change
        on
            state.sequence = change.sequence
            and state.token = change.token
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
            and log.lowest_probe = {{ visitor_hash("'probe'", "'probe'") }}
            and log.highest_probe = {{ visitor_hash("'probe'", "'probe'") }}
            then 'touched'
        else 'all'
    end as scope,
    built.sequence as built_sequence,
    log.sequence,
    log.token,
    rule.settings
from log
cross join rule
left join built on true
