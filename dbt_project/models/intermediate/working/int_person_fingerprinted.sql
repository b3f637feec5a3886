{{ config(materialized='view') }}
-- What the journey of a person takes from elsewhere than the web, as one number.
with recorded as (
    select
        person_id,
        count(*) as n_entries,
        sum(cast({{ fingerprint([
            'stage_id', 'touchpoint_id', 'channel', 'entered_at', 'entry_kind', 'entry_rank', 'source', 'source_id',
        ]) }} as decimal(38, 0))) as entries
    from {{ ref('int_stage_entry_recorded') }}
    group by person_id
)

select
    coalesce(person.person_id, recorded.person_id) as person_id,
    {{ fingerprint(['person.segment', 'recorded.n_entries', 'recorded.entries']) }} as content_hash
from {{ ref('int_person_profiled') }} as person
full join recorded on person.person_id = recorded.person_id
