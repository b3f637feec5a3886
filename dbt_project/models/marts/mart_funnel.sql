with person_stage as (
    select
        *,
        {{ period_start('month', 'cohort_date') }} as cohort_month,
        {{ hours_between('previous_reached_at', 'reached_at') }} as hours_from_previous
    from {{ ref('int_stage_reached') }}
),

range_of_all as (
    select
        min(cohort_month) as cohort_start_date,
        max(cohort_date) as cohort_end_date
    from person_stage
),

cohort as (
    select
        *,
        'month' as cohort_kind,
        cohort_month as cohort_start_date,
        {{ period_end('month', 'cohort_month') }} as cohort_end_date
    from person_stage
    union all
    select
        person_stage.*,
        'all' as cohort_kind,
        range_of_all.cohort_start_date,
        range_of_all.cohort_end_date
    from person_stage
    cross join range_of_all
),

cell as (
    select
        cohort_kind,
        cohort_start_date,
        cohort_end_date,
        stage_id,
        stage_order,
        previous_stage_id,
        {{ breakdown_columns({'channel': 'channel', 'segment': 'segment'}) }},
        cast(sum(n_previous) as bigint) as n_previous,
        cast(sum(n_reached) as bigint) as n_reached,
        {{ median('hours_from_previous') }} as median_hours_from_previous
    from cohort
    group by
        {{ breakdown_sets(
            ['cohort_kind', 'cohort_start_date', 'cohort_end_date', 'stage_id', 'stage_order', 'previous_stage_id'],
            ['channel', 'segment'],
        ) }}
),

base as (
    select
        cohort_kind,
        cohort_start_date,
        cohort_end_date,
        breakdown,
        breakdown_value,
        n_reached as n,
        {{ suppression_reason(
            'n_reached', ['cohort_kind', 'cohort_start_date', 'breakdown'], 'breakdown_value'
        ) }} as suppression_reason
    from cell
    where previous_stage_id is null
),

grid as (
    select
        base.cohort_kind,
        base.cohort_start_date,
        base.cohort_end_date,
        base.breakdown,
        base.breakdown_value,
        stage.stage_id,
        stage.stage_order,
        stage.previous_stage_id,
        base.n,
        base.suppression_reason as base_suppression_reason,
        case when stage.previous_stage_id is not null then coalesce(cell.n_previous, 0) end as n_previous,
        coalesce(cell.n_reached, 0) as n_reached,
        cell.median_hours_from_previous
    from base
    -- Every stage stands in every cell, also where nobody came so far.
    cross join {{ ref('int_funnel_stage') }} as stage
    left join cell
        on
            base.cohort_kind = cell.cohort_kind
            and base.cohort_start_date = cell.cohort_start_date
            and base.breakdown = cell.breakdown
            and base.breakdown_value = cell.breakdown_value
            and stage.stage_id = cell.stage_id
),

judged as (
    select
        *,
        -- A later stage is measured on those who reached the one before. Where these are too few, their rate and
        -- all behind it say nothing and are hidden.
        coalesce(
            base_suppression_reason,
            case when coalesce(n_previous, n) < {{ var('minimum_n') }} then 'below_minimum' end
        ) as suppression_reason
    from grid
)

select
    judged.cohort_kind,
    judged.cohort_start_date,
    judged.cohort_end_date,
    judged.breakdown,
    judged.breakdown_value,
    judged.stage_id,
    judged.stage_order,
    judged.previous_stage_id,
    judged.n,
    case when judged.suppression_reason is null then judged.n_previous end as n_previous,
    case when judged.suppression_reason is null then judged.n_reached end as n_reached,
    case when judged.suppression_reason is null then {{ share('judged.n_reached', 'judged.n_previous') }} end
        as conversion_share,
    case when judged.suppression_reason is null then 1 - {{ share('judged.n_reached', 'judged.n_previous') }} end
        as dropoff_share,
    case
        when judged.suppression_reason is null and judged.n_previous > 0
            then {{ wilson_low('judged.n_reached', 'judged.n_previous') }}
    end as ci_low,
    case
        when judged.suppression_reason is null and judged.n_previous > 0
            then {{ wilson_high('judged.n_reached', 'judged.n_previous') }}
    end as ci_high,
    case when judged.suppression_reason is null then {{ share('judged.n_reached', 'judged.n') }} end as share_of_first,
    case when judged.suppression_reason is null then judged.median_hours_from_previous end
        as median_hours_from_previous,
    cast({{ var('funnel_window_days') }} as integer) as window_days,
    {{ add_days('judged.cohort_end_date', var('funnel_window_days')) }} < as_of.as_of_date as is_mature,
    cast({{ var('minimum_n') }} as bigint) as minimum_n,
    judged.suppression_reason is not null as is_suppressed,
    judged.suppression_reason,
    {{ metric_version('funnel') }} as metric_version,
    {{ run_id() }} as run_id
from judged
cross join {{ ref('int_as_of') }} as as_of
