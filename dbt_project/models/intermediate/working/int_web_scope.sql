{%- set built = built_upon('int_web_built', {
    'int_visitor_person_built': 'working',
    'int_visitor_touched': 'working',
    'int_person_touched': 'working',
    'int_person_built': 'working',
    'int_session_bounded': 'intermediate',
    'int_web_event_sessionized': 'intermediate',
    'int_session_aggregated': 'intermediate',
    'int_visitor_login': 'intermediate',
    'int_stage_entry_collected': 'intermediate',
    'int_stage_reached': 'intermediate',
    'fct_journey_stage': 'marts',
    'fct_session': 'marts',
}) -%}
{%- set variables = [
    var('session_gap_minutes'), var('page_view_events'), var('passive_events'), var('purchase_events'),
    var('funnel_window_days'), var('maximum_funnel_stages'),
] | tojson -%}
{%- set settings -%}
    select
        md5(concat(
            '{{ variables }}',
            (
                select string_agg({{ surrogate_key([
                    'rule_order', 'event_name_pattern', 'page_path_pattern', 'touchpoint_id', 'stage_id',
                ]) }}, ';' order by rule_order)
                from {{ ref('touchpoint_rule') }}
            ),
            (
                select string_agg({{ surrogate_key(['touchpoint_id', 'channel_id']) }}, ';' order by touchpoint_id)
                from {{ ref('touchpoint') }}
            ),
            (
                select string_agg({{ surrogate_key(['stage_id', 'stage_order', 'is_funnel_stage']) }}, ';'
                    order by stage_id)
                from {{ ref('stage') }}
            )
        )) as settings
{%- endset -%}
{{ scope_query('web_event', built, settings) }}
