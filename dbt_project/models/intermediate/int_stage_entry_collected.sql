-- What enters a person into a stage (docs/metrics/funnel.md). A row from a session's start comes before one
-- from a rule at the same instant, so that the first entry carries the channel the person came by.
with web as (
    select
        person_id,
        stage_id,
        touchpoint_id,
        occurred_at as entered_at,
        'web_event' as entry_kind,
        source,
        source_id
    from {{ ref('int_web_event_sessionized') }}
    where stage_id is not null and person_id is not null
),

first_session as (
    select
        person_id,
        channel,
        started_at as entered_at,
        source,
        session_key as source_id,
        row_number() over (partition by person_id order by started_at, session_key) as session_rank
    from {{ ref('int_session_aggregated') }}
    where person_id is not null
),

sales as (
    select
        *,
        case when order_sequence = 1 then 'purchase' else 'loyalty' end as stage_id
    from {{ ref('int_order_sequenced') }}
    where order_sequence is not null
)

select
    web.person_id,
    web.stage_id,
    web.touchpoint_id,
    touchpoint.channel_id as channel,
    web.entered_at,
    web.entry_kind,
    2 as entry_rank,
    web.source,
    web.source_id
from web
left join {{ ref('touchpoint') }} as touchpoint on web.touchpoint_id = touchpoint.touchpoint_id

union all

select
    person_id,
    'awareness' as stage_id,
    case when channel = 'search' then 'search' when channel in ('ad', 'social', 'email') then 'campaign' end
        as touchpoint_id,
    channel,
    entered_at,
    'first_session' as entry_kind,
    1 as entry_rank,
    source,
    source_id
from first_session
where session_rank = 1

union all

select
    person_id,
    'consideration' as stage_id,
    null as touchpoint_id,
    null as channel,
    created_at as entered_at,
    'opportunity' as entry_kind,
    2 as entry_rank,
    source,
    source_id
from {{ ref('int_opportunity_identified') }}
where person_id is not null and created_at is not null

union all

select
    person_id,
    'purchase' as stage_id,
    null as touchpoint_id,
    null as channel,
    closed_at as entered_at,
    'opportunity_won' as entry_kind,
    2 as entry_rank,
    source,
    source_id
from {{ ref('int_opportunity_identified') }}
where person_id is not null and status = 'won' and closed_at is not null

union all

select
    person_id,
    stage_id,
    case when channel = 'store' then 'store' else 'checkout' end as touchpoint_id,
    channel,
    ordered_at as entered_at,
    'sales_order' as entry_kind,
    2 as entry_rank,
    source,
    source_id
from sales

union all

select
    person_id,
    'use' as stage_id,
    'delivery' as touchpoint_id,
    channel,
    delivered_at as entered_at,
    'delivery' as entry_kind,
    2 as entry_rank,
    source,
    source_id
from sales
where delivered_at is not null

union all

select
    person_id,
    'after_sales' as stage_id,
    coalesce(touchpoint_id, 'support') as touchpoint_id,
    channel,
    opened_at as entered_at,
    'ticket' as entry_kind,
    2 as entry_rank,
    source,
    source_id
from {{ ref('int_ticket_timed') }}
where person_id is not null
