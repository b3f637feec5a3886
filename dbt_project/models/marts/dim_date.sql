select
    spine.date_day as calendar_date,
    cast(extract(year from spine.date_day) as integer) as calendar_year,
    cast(extract(quarter from spine.date_day) as integer) as quarter_of_year,
    cast(extract(month from spine.date_day) as integer) as month_of_year,
    cast(extract(day from spine.date_day) as integer) as day_of_month,
    cast({{ iso_day_of_week('spine.date_day') }} as integer) as iso_day_of_week,
    {{ period_start('week', 'spine.date_day') }} as week_start_date,
    {{ period_start('month', 'spine.date_day') }} as month_start_date,
    {{ period_start('quarter', 'spine.date_day') }} as quarter_start_date,
    {{ iso_day_of_week('spine.date_day') }} >= 6 as is_weekend,
    coalesce(calendar.is_business_day, {{ iso_day_of_week('spine.date_day') }} < 6) as is_business_day,
    calendar.day_name
from {{ ref('metricflow_time_spine') }} as spine
left join {{ ref('business_calendar') }} as calendar on spine.date_day = calendar.calendar_date
