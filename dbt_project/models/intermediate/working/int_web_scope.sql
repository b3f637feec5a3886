{%- set built = built_upon('int_web_built', {
    'int_visitor_person_built': 'working',
    'int_session_bounded': 'intermediate',
    'int_web_event_sessionized': 'intermediate',
    'int_session_aggregated': 'intermediate',
    'int_visitor_login': 'intermediate',
}) -%}
{%- set variables = [
    var('session_gap_minutes'), var('page_view_events'), var('passive_events'), var('purchase_events'),
] | tojson -%}
{%- set settings -%}
    select
        md5(concat(
            '{{ variables }}',
            string_agg(
                concat_ws('|', rule_order, event_name_pattern, page_path_pattern, touchpoint_id, stage_id), ';'
                order by rule_order
            )
        )) as settings
    from {{ ref('touchpoint_rule') }}
{%- endset -%}
{{ scope_query('web_event', built, settings) }}
