with member as (
    select
        person_id,
        min(first_extracted_at) as first_extracted_at,
        count(*) as n_records,
        count(case when record_table = 'customer' then 1 end) as n_customer_records,
        count(case when record_table = 'visitor' then 1 end) as n_visitor_records
    from {{ ref('stg_person_record') }}
    group by person_id
),

sales as (
    select
        person_id,
        count(*) as n_orders,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at,
        -- Amounts of different currencies are not added up.
        case when count(distinct order_currency) = 1 then cast(sum(order_amount) as decimal(38, 4)) end
            as orders_amount,
        case when count(distinct order_currency) = 1 then max(order_currency) end as orders_currency
    from {{ ref('int_order_sequenced') }}
    where order_sequence is not null
    group by person_id
),

visit as (
    select
        person_id,
        count(*) as n_sessions,
        min(started_at) as first_session_at
    from {{ ref('int_session_aggregated') }}
    where person_id is not null
    group by person_id
),

voice as (
    select
        person_id,
        count(*) as n_responses,
        min(answered_at) as first_answered_at
    from {{ ref('int_response_qualified') }}
    where person_id is not null
    group by person_id
),

help as (
    select
        person_id,
        count(*) as n_tickets,
        min(opened_at) as first_opened_at
    from {{ ref('int_ticket_timed') }}
    where person_id is not null
    group by person_id
)

select
    member.person_id,
    member.n_records > member.n_visitor_records as is_identified,
    member.n_records,
    member.n_customer_records,
    coalesce(
        least(
            person.created_at, sales.first_ordered_at, visit.first_session_at, voice.first_answered_at,
            help.first_opened_at
        ),
        member.first_extracted_at
    ) as first_seen_at,
    person.country,
    person.region,
    person.language,
    person.segment,
    person.account_key,
    person.lifecycle_stage,
    person.acquisition_channel,
    person.has_marketing_consent,
    coalesce(sales.n_orders, 0) as n_orders,
    sales.orders_amount,
    sales.orders_currency,
    sales.first_ordered_at,
    sales.last_ordered_at,
    coalesce(visit.n_sessions, 0) as n_sessions,
    coalesce(voice.n_responses, 0) as n_responses,
    coalesce(help.n_tickets, 0) as n_tickets
from member
left join {{ ref('int_person_profiled') }} as person on member.person_id = person.person_id
left join sales on member.person_id = sales.person_id
left join visit on member.person_id = visit.person_id
left join voice on member.person_id = voice.person_id
left join help on member.person_id = help.person_id
