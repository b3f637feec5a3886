-- The day that rolling windows end on: as_of_date, else the latest business day that anything happened on.
with seen as (
    select max(answered_date) as latest_date
    from {{ ref('int_response_qualified') }}
    union all
    select {{ business_date('max(ended_at)') }} as latest_date
    from {{ ref('int_session_aggregated') }}
    union all
    select {{ business_date('max(ordered_at)') }} as latest_date
    from {{ ref('int_order_sequenced') }}
    union all
    select {{ business_date('max(opened_at)') }} as latest_date
    from {{ ref('int_ticket_timed') }}
)

select
    coalesce(cast(nullif('{{ var("as_of_date") }}', '') as date), max(latest_date)) as as_of_date
from seen
