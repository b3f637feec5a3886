with history as (
    select
        source,
        ticket_id,
        min(case when event_name = 'replied' and coalesce(actor_kind, 'agent') = 'agent' then occurred_at end)
            as first_reply_at,
        max(case when event_name = 'solved' or to_status = 'solved' then occurred_at end) as last_solved_at,
        count(case when event_name = 'reopened' then 1 end) as reopened_count
    from {{ ref('stg_ticket_event') }}
    group by source, ticket_id
)

select
    {{ surrogate_key(['ticket.source', 'ticket.source_id']) }} as ticket_key,
    ticket.source,
    ticket.source_id,
    ticket.load_id,
    ticket.load_row,
    person_record.person_id,
    ticket.channel,
    ticket.ticket_category,
    ticket.priority,
    ticket.status,
    ticket.agent_id,
    ticket.touchpoint_id,
    ticket.opened_at,
    coalesce(ticket.first_response_at, history.first_reply_at) as first_response_at,
    case
        when coalesce(ticket.status in ('solved', 'closed'), true)
            then coalesce(ticket.resolved_at, history.last_solved_at, ticket.closed_at)
    end as resolved_at,
    ticket.closed_at,
    greatest(coalesce(ticket.reopened_count, 0), coalesce(history.reopened_count, 0)) as reopened_count
from {{ ref('stg_ticket') }} as ticket
left join history
    on
        ticket.source = history.source
        and ticket.source_id = history.ticket_id
left join {{ ref('stg_person_record') }} as person_record
    on
        ticket.source = person_record.source
        and ticket.source_id = person_record.source_id
        and person_record.record_table = 'ticket'
