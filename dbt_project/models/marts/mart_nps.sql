with vote as (
    select
        nps_kind,
        vote_date,
        next_vote_date,
        survey_id,
        segment,
        channel,
        touchpoint_id,
        country,
        1 as n,
        n_promoters,
        n_passives,
        n_detractors,
        -- Components of the weighted score: w, wx, w^2, w^2 x, w^2 x^2 of the votes that carry a weight.
        case when weight is not null then 1 else 0 end as n_weighted,
        coalesce(weight, 0) as w,
        coalesce(weight * category, 0) as wx,
        coalesce(weight * weight, 0) as ww,
        coalesce(weight * weight * category, 0) as wwx,
        coalesce(weight * weight * category * category, 0) as wwxx
    from {{ ref('int_nps_vote_latest') }}
),

{{ period_cells(
    relation='vote',
    keys=['nps_kind'],
    breakdowns={
        'survey': 'survey_id', 'segment': 'segment', 'channel': 'channel', 'touchpoint': 'touchpoint_id',
        'country': 'country',
    },
    measures={
        'n': 'bigint', 'n_promoters': 'bigint', 'n_passives': 'bigint', 'n_detractors': 'bigint',
        'n_weighted': 'bigint', 'w': 'decimal(38, 8)', 'wx': 'decimal(38, 8)', 'ww': 'decimal(38, 16)',
        'wwx': 'decimal(38, 16)', 'wwxx': 'decimal(38, 16)',
    },
    day='vote_date',
    next_day='next_vote_date',
    as_of=ref('int_as_of'),
) }},

{{ compared_cells('mart_nps', ['nps_kind', 'period_kind', 'period_start_date', 'breakdown', 'breakdown_value']) }},

judged as (
    select
        *,
        {{ suppression_reason(
            'n',
            ['nps_kind', 'period_kind', 'period_start_date', 'breakdown'],
            'breakdown_value',
            'was_hidden',
            'was_shown',
        ) }} as suppression_reason
    from compared_cell
    where n > 0
),

scored as (
    select
        *,
        suppression_reason is null as is_shown,
        suppression_reason is null and w > 0 as is_weighted_shown,
        {{ nps_weighted('wx', 'w') }} as weighted_score,
        {{ nps_weighted_standard_error('w', 'wx', 'ww', 'wwx', 'wwxx', 'n_weighted') }} as weighted_standard_error
    from judged
)

select
    nps_kind,
    period_kind,
    period_start_date,
    period_end_date,
    breakdown,
    breakdown_value,
    n,
    case when is_shown then n_promoters end as promoters,
    case when is_shown then n_passives end as passives,
    case when is_shown then n_detractors end as detractors,
    case when is_shown then {{ nps_score('n_promoters', 'n_detractors', 'n') }} end as nps,
    case when is_shown then {{ nps_standard_error('n_promoters', 'n_detractors', 'n') }} end as standard_error,
    case when is_shown then {{ nps_interval_low('n_promoters', 'n_detractors', 'n') }} end as ci_low,
    case when is_shown then {{ nps_interval_high('n_promoters', 'n_detractors', 'n') }} end as ci_high,
    case when is_weighted_shown then {{ kish_n_effective('w', 'ww') }} end as n_effective,
    case when is_weighted_shown then weighted_score end as nps_weighted,
    case when is_weighted_shown then weighted_standard_error end as weighted_standard_error,
    case
        when is_weighted_shown and weighted_standard_error is not null
            then greatest(-100, weighted_score - {{ normal_quantile_975() }} * weighted_standard_error)
    end as weighted_ci_low,
    case
        when is_weighted_shown and weighted_standard_error is not null
            then least(100, weighted_score + {{ normal_quantile_975() }} * weighted_standard_error)
    end as weighted_ci_high,
    cast({{ var('minimum_n') }} as bigint) as minimum_n,
    suppression_reason is not null as is_suppressed,
    suppression_reason,
    {{ metric_version('nps') }} as metric_version,
    {{ run_id() }} as run_id
from scored
