{{ config(materialized='incremental', incremental_strategy='touched_persons') }}
-- depends_on: {{ ref('int_web_scope') }}, {{ ref('int_person_touched') }}
-- The first instant is found by grouping, so that only entries of that instant need sorting.
with first_instant as (
    select
        entry.person_id,
        entry.stage_id,
        min(entry.entered_at) as entered_at,
        count(*) as n_entries
    from {{ ref('int_stage_entry_collected') }} as entry
    {{ of_touched_persons('entry') }}
    group by entry.person_id, entry.stage_id
),

ranked as (
    select
        entry.*,
        first_instant.n_entries,
        row_number() over (
            partition by entry.person_id, entry.stage_id
            order by entry.entry_rank, entry.source, entry.source_id, entry.entry_kind
        ) as entry_order
    from {{ ref('int_stage_entry_collected') }} as entry
    inner join first_instant
        on
            entry.person_id = first_instant.person_id
            and entry.stage_id = first_instant.stage_id
            and entry.entered_at = first_instant.entered_at
)

select
    {{ surrogate_key(['entry.person_id', 'entry.stage_id']) }} as journey_stage_key,
    entry.person_id,
    entry.stage_id,
    stage.stage_order,
    entry.entered_at as first_entered_at,
    {{ business_date('entry.entered_at') }} as first_entered_date,
    entry.touchpoint_id,
    entry.channel,
    entry.entry_kind,
    entry.n_entries,
    reached.reached_at is not null as is_reached_in_order,
    reached.reached_at as reached_in_order_at,
    entry.source,
    entry.source_id
from ranked as entry
inner join {{ ref('stage') }} as stage on entry.stage_id = stage.stage_id
left join {{ ref('int_stage_reached') }} as reached
    on
        entry.person_id = reached.person_id
        and entry.stage_id = reached.stage_id
where entry.entry_order = 1
