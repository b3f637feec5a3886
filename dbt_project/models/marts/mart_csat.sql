with answer as (
    select
        source,
        survey_id,
        question_id,
        metric,
        coalesce(segment, 'unknown') as segment,
        coalesce(channel, 'unknown') as channel,
        coalesce(touchpoint_id, 'unknown') as touchpoint_id,
        coalesce(country, 'unknown') as country,
        answered_date,
        1 as n,
        case when is_top_box is not null then 1 else 0 end as n_boxed,
        case when is_top_box then 1 else 0 end as top_box_count,
        cast(score as decimal(19, 6)) as x,
        cast(score as decimal(19, 6)) * cast(score as decimal(19, 6)) as xx
    from {{ ref('int_answer_scored') }}
    where metric in ('csat', 'ces', 'rating') and is_valid and is_counted
),

{{ period_cells(
    relation='answer',
    keys=['source', 'survey_id', 'question_id', 'metric'],
    breakdowns={
        'segment': 'segment', 'channel': 'channel', 'touchpoint': 'touchpoint_id', 'country': 'country',
    },
    measures={
        'n': 'bigint', 'n_boxed': 'bigint', 'top_box_count': 'bigint', 'x': 'decimal(38, 6)', 'xx': 'decimal(38, 12)',
    },
    day='answered_date',
    next_day=none,
    as_of=ref('int_as_of'),
) }},

{{ compared_cells('mart_csat', [
    'source', 'survey_id', 'question_id', 'period_kind', 'period_start_date', 'breakdown', 'breakdown_value',
]) }},

judged as (
    select
        *,
        {{ suppression_reason(
            'n',
            ['source', 'survey_id', 'question_id', 'period_kind', 'period_start_date', 'breakdown'],
            'breakdown_value',
            'was_hidden',
            'was_shown',
        ) }} as suppression_reason
    from compared_cell
    where n > 0
)

select
    source,
    survey_id,
    question_id,
    metric,
    period_kind,
    period_start_date,
    period_end_date,
    breakdown,
    breakdown_value,
    n,
    case when suppression_reason is null and n_boxed > 0 then top_box_count end as top_box_count,
    case when suppression_reason is null then 100 * {{ share('top_box_count', 'n_boxed') }} end as top_box_pct,
    case when suppression_reason is null and n_boxed > 0 then 100 * {{ wilson_low('top_box_count', 'n_boxed') }} end
        as ci_low,
    case when suppression_reason is null and n_boxed > 0 then 100 * {{ wilson_high('top_box_count', 'n_boxed') }} end
        as ci_high,
    case when suppression_reason is null then {{ share('x', 'n') }} end as mean_score,
    case when suppression_reason is null then {{ standard_deviation('x', 'xx', 'n') }} end as standard_deviation,
    case when suppression_reason is null then {{ mean_interval_low('x', 'xx', 'n') }} end as mean_ci_low,
    case when suppression_reason is null then {{ mean_interval_high('x', 'xx', 'n') }} end as mean_ci_high,
    cast({{ var('minimum_n') }} as bigint) as minimum_n,
    suppression_reason is not null as is_suppressed,
    suppression_reason,
    {{ metric_version('csat') }} as metric_version,
    {{ run_id() }} as run_id
from judged
