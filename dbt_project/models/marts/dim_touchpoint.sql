select
    touchpoint.touchpoint_id,
    touchpoint.touchpoint_name,
    touchpoint.stage_id,
    stage.stage_name,
    stage.stage_order,
    touchpoint.channel_id,
    channel.channel_name
from {{ ref('touchpoint') }} as touchpoint
left join {{ ref('stage') }} as stage on touchpoint.stage_id = stage.stage_id
left join {{ ref('channel') }} as channel on touchpoint.channel_id = channel.channel_id
