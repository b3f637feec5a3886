select cast(date_day as date) as date_day
from (
    {{ dbt.date_spine(
        'day',
        "cast('" ~ var('calendar_start') ~ "' as date)",
        "(cast('" ~ var('calendar_end') ~ "' as date) + interval '1' day)"
    ) }}
) as spine
