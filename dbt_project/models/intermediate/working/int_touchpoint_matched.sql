-- depends_on: {{ ref('int_web_scope') }}
{%- set everybody, touched = ref('int_web_event_filtered'), ref('int_web_event_touched') %}
with page as (
    select distinct
        event_name,
        page_path
    from {{ everybody if web_scope() == 'all' else touched }}
),

matched as (
    select
        page.event_name,
        page.page_path,
        rule.touchpoint_id,
        rule.stage_id,
        row_number() over (
            partition by page.event_name, page.page_path
            order by rule.rule_order
        ) as rule_rank
    from page
    inner join {{ ref('touchpoint_rule') }} as rule
        on
            (rule.event_name_pattern is null or {{ matches_regex('page.event_name', 'rule.event_name_pattern') }})
            and (rule.page_path_pattern is null or {{ matches_regex('page.page_path', 'rule.page_path_pattern') }})
)

select
    event_name,
    page_path,
    touchpoint_id,
    stage_id
from matched
where rule_rank = 1
