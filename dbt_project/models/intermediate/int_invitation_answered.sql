-- What became of each invitation. Bounced and failed ones reached nobody and do not count as asked.
with response as (
    select
        source,
        source_id,
        invitation_id,
        case when coalesce(status, 'complete') = 'complete' then 1 else 0 end as n_complete,
        case when status = 'partial' then 1 else 0 end as n_partial
    from {{ ref('int_response_qualified') }}
    where is_counted
),

-- Either side may know the other.
linked as (
    select
        source,
        invitation_id as source_id,
        n_complete,
        n_partial
    from response
    where invitation_id is not null
    union all
    select
        invitation.source,
        invitation.source_id,
        response.n_complete,
        response.n_partial
    from {{ ref('stg_invitation') }} as invitation
    inner join response
        on
            invitation.source = response.source
            and invitation.response_id = response.source_id
),

answered as (
    select
        source,
        source_id,
        max(n_complete) as n_complete,
        max(n_partial) as n_partial
    from linked
    group by source, source_id
)

select
    {{ surrogate_key(['invitation.source', 'invitation.source_id']) }} as invitation_key,
    invitation.source,
    invitation.source_id,
    invitation.survey_id,
    coalesce(invitation.channel, 'unknown') as channel,
    coalesce(invitation.touchpoint_id, 'unknown') as touchpoint_id,
    invitation.sent_at,
    {{ business_date('invitation.sent_at') }} as sent_date,
    invitation.status,
    case when invitation.status in ('bounced', 'failed') and answered.source_id is null then 0 else 1 end
        as n_delivered,
    coalesce(answered.n_complete, case when invitation.status = 'finished' then 1 else 0 end) as n_complete,
    case
        when coalesce(answered.n_complete, case when invitation.status = 'finished' then 1 else 0 end) = 1 then 0
        else coalesce(answered.n_partial, case when invitation.status = 'started' then 1 else 0 end)
    end as n_partial
from {{ ref('stg_invitation') }} as invitation
left join answered
    on
        invitation.source = answered.source
        and invitation.source_id = answered.source_id
