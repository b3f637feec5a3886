{{ config(materialized='view') }}
-- What enters a person into a stage on record: opportunities, orders, tickets.
with sales as (
    select
        *,
        case when order_sequence = 1 then 'purchase' else 'loyalty' end as stage_id
    from {{ ref('int_order_sequenced') }}
    where order_sequence is not null
)

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
