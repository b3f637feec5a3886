{{ config(materialized='view') }}

select
    opportunity.*,
    person_record.person_id
from {{ ref('stg_opportunity') }} as opportunity
left join {{ ref('stg_person_record') }} as person_record
    on
        opportunity.source = person_record.source
        and opportunity.source_id = person_record.source_id
        and person_record.record_table = 'opportunity'
