-- Everybody seen at a touchpoint, from every kind of trace. Events that enter a stage are among the stage entries.
with contact as (
    select
        touchpoint_id,
        person_id
    from {{ ref('int_web_event_sessionized') }}
    where touchpoint_id is not null and stage_id is null and person_id is not null
    union
    select
        touchpoint_id,
        person_id
    from {{ ref('int_stage_entry_collected') }}
    where touchpoint_id is not null
    union
    select
        touchpoint_id,
        person_id
    from {{ ref('int_response_qualified') }}
    where touchpoint_id is not null and person_id is not null
),

reach as (
    select
        touchpoint_id,
        count(*) as n_persons
    from contact
    group by touchpoint_id
),

web as (
    select
        touchpoint_id,
        count(distinct session_key) as n_sessions
    from {{ ref('int_web_event_sessionized') }}
    where touchpoint_id is not null
    group by touchpoint_id
),

sales as (
    select
        touchpoint_id,
        count(*) as n_orders
    from {{ ref('int_stage_entry_collected') }}
    where entry_kind = 'sales_order'
    group by touchpoint_id
),

help as (
    select
        coalesce(touchpoint_id, 'support') as touchpoint_id,
        count(*) as n_tickets
    from {{ ref('int_ticket_timed') }}
    group by coalesce(touchpoint_id, 'support')
),

nps as (
    select
        breakdown_value as touchpoint_id,
        n,
        nps,
        ci_low,
        ci_high,
        suppression_reason
    from {{ ref('mart_nps') }}
    where nps_kind = 'touchpoint' and period_kind = 'all' and breakdown = 'touchpoint'
),

rating as (
    select
        touchpoint_id,
        count(*) as n,
        count(case when is_top_box then 1 end) as top_box_count
    from {{ ref('int_answer_scored') }}
    where metric in ('csat', 'rating') and is_valid and is_counted and is_top_box is not null
    group by touchpoint_id
),

judged_rating as (
    select
        *,
        {{ suppression_reason('n', ['1'], "coalesce(touchpoint_id, '')") }} as suppression_reason
    from rating
)

select
    touchpoint.touchpoint_id,
    touchpoint.touchpoint_name,
    touchpoint.stage_id,
    touchpoint.stage_name,
    touchpoint.stage_order,
    coalesce(reach.n_persons, 0) as n_persons,
    coalesce(web.n_sessions, 0) as n_sessions,
    coalesce(sales.n_orders, 0) as n_orders,
    coalesce(help.n_tickets, 0) as n_tickets,
    coalesce(nps.n, 0) as nps_n,
    nps.nps,
    nps.ci_low as nps_ci_low,
    nps.ci_high as nps_ci_high,
    nps.suppression_reason is not null as is_nps_suppressed,
    nps.suppression_reason as nps_suppression_reason,
    coalesce(rating.n, 0) as csat_n,
    case when rating.suppression_reason is null then 100 * {{ share('rating.top_box_count', 'rating.n') }} end
        as csat_top_box_pct,
    case when rating.suppression_reason is null then 100 * {{ wilson_low('rating.top_box_count', 'rating.n') }} end
        as csat_ci_low,
    case when rating.suppression_reason is null then 100 * {{ wilson_high('rating.top_box_count', 'rating.n') }} end
        as csat_ci_high,
    rating.suppression_reason is not null as is_csat_suppressed,
    rating.suppression_reason as csat_suppression_reason,
    cast({{ var('minimum_n') }} as bigint) as minimum_n,
    {{ metric_version('journey_map') }} as metric_version,
    {{ run_id() }} as run_id
from {{ ref('dim_touchpoint') }} as touchpoint
left join reach on touchpoint.touchpoint_id = reach.touchpoint_id
left join web on touchpoint.touchpoint_id = web.touchpoint_id
left join sales on touchpoint.touchpoint_id = sales.touchpoint_id
left join help on touchpoint.touchpoint_id = help.touchpoint_id
left join nps on touchpoint.touchpoint_id = nps.touchpoint_id
left join judged_rating as rating on touchpoint.touchpoint_id = rating.touchpoint_id
