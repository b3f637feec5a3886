with customer as (
    select
        person_record.person_id,
        customer.source,
        customer.source_id,
        coalesce(customer.updated_at, customer.extracted_at) as version_at,
        customer.country,
        customer.region,
        customer.language,
        customer.segment,
        customer.lifecycle_stage,
        customer.acquisition_channel,
        customer.has_marketing_consent,
        customer.created_at,
        case
            when customer.account_id is not null
                then {{ surrogate_key(['customer.source', 'customer.account_id']) }}
        end as account_key
    from {{ ref('stg_customer') }} as customer
    inner join {{ ref('stg_person_record') }} as person_record
        on
            customer.source = person_record.source
            and customer.source_id = person_record.source_id
            and person_record.record_table = 'customer'
)

select
    person_id,
    min(created_at) as created_at,
    {%- set order = ['version_at', 'source', 'source_id'] %}
    {{ latest_by('country', order) }} as country,
    {{ latest_by('region', order) }} as region,
    {{ latest_by('language', order) }} as language,
    {{ latest_by('segment', order) }} as segment,
    {{ latest_by('lifecycle_stage', order) }} as lifecycle_stage,
    {{ latest_by('acquisition_channel', order) }} as acquisition_channel,
    {{ latest_by('has_marketing_consent', order) }} as has_marketing_consent,
    {{ latest_by('account_key', order) }} as account_key
from customer
group by person_id
