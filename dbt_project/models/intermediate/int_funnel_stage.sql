{{ config(materialized='view') }}

select
    stage_id,
    stage_order,
    row_number() over (order by stage_order, stage_id) as funnel_rank,
    lag(stage_id) over (order by stage_order, stage_id) as previous_stage_id
from {{ ref('stage') }}
where is_funnel_stage
