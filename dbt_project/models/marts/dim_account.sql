with member as (
    select
        account_key,
        count(*) as n_persons
    from {{ ref('int_person_profiled') }}
    where account_key is not null
    group by account_key
),

deal as (
    select
        {{ surrogate_key(['source', 'account_id']) }} as account_key,
        count(*) as n_opportunities,
        count(case when status = 'won' then 1 end) as n_won_opportunities
    from {{ ref('stg_opportunity') }}
    where account_id is not null
    group by source, account_id
),

account as (
    select
        {{ surrogate_key(['source', 'source_id']) }} as account_key,
        *
    from {{ ref('stg_account') }}
)

select
    account.account_key,
    account.name as account_name,
    account.industry,
    account.segment,
    account.country,
    account.region,
    account.employee_count,
    account.annual_revenue_amount,
    account.annual_revenue_currency,
    account.created_at,
    coalesce(member.n_persons, 0) as n_persons,
    coalesce(deal.n_opportunities, 0) as n_opportunities,
    coalesce(deal.n_won_opportunities, 0) as n_won_opportunities,
    account.source,
    account.source_id,
    account.load_id,
    account.load_row
from account
left join member on account.account_key = member.account_key
left join deal on account.account_key = deal.account_key
