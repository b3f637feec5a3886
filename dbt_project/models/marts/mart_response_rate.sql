with invitation as (
    select
        survey_id,
        channel,
        touchpoint_id,
        sent_date,
        1 as n_sent,
        n_delivered as n,
        n_complete,
        n_partial
    from {{ ref('int_invitation_answered') }}
),

{{ period_cells(
    relation='invitation',
    keys=[],
    breakdowns={'survey': 'survey_id', 'channel': 'channel', 'touchpoint': 'touchpoint_id'},
    measures={'n_sent': 'bigint', 'n': 'bigint', 'n_complete': 'bigint', 'n_partial': 'bigint'},
    day='sent_date',
    next_day=none,
    as_of=ref('int_as_of'),
    rolling=[],
) }},

{{ compared_cells('mart_response_rate', ['period_kind', 'period_start_date', 'breakdown', 'breakdown_value']) }},

judged as (
    select
        *,
        {{ suppression_reason(
            'n',
            ['period_kind', 'period_start_date', 'breakdown'],
            'breakdown_value',
            'was_hidden',
            'was_shown',
        ) }}
            as suppression_reason
    from compared_cell
)

select
    period_kind,
    period_start_date,
    period_end_date,
    breakdown,
    breakdown_value,
    n_sent,
    n,
    case when suppression_reason is null then n_complete end as n_complete,
    case when suppression_reason is null then n_partial end as n_partial,
    case when suppression_reason is null then {{ share('n_complete', 'n') }} end as response_share,
    case when suppression_reason is null and n > 0 then {{ wilson_low('n_complete', 'n') }} end as ci_low,
    case when suppression_reason is null and n > 0 then {{ wilson_high('n_complete', 'n') }} end as ci_high,
    cast({{ var('minimum_n') }} as bigint) as minimum_n,
    suppression_reason is not null as is_suppressed,
    suppression_reason,
    {{ metric_version('response_rate') }} as metric_version,
    {{ run_id() }} as run_id
from judged
