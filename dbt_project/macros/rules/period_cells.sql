{#
    Cells of a mart: what is counted, by period and by breakdown. Renders CTEs, the last one named
    period_cell with the keys, period_kind, period_start_date, period_end_date, breakdown, breakdown_value
    and one sum for each measure.

    relation: CTE with one row for what is counted (a vote, an answer), measures as columns.
    keys: columns that stand in every cell.
    breakdowns: breakdown to column; the columns must not be null.
    measures: measure to SQL type of its sum. Sums are exact (integers or decimals), so they do not depend on
        the order of the rows, and running totals come back to zero.
    day: column of the business day.
    next_day: column of the day from which the row no longer counts because a later one replaced it, or none.
    as_of: relation with the day that rolling windows end on.

    A row counts in a rolling window that ends on day e where day <= e < min(day + length, next_day). So each
    row is one plus and one minus on the time line and a running total gives every window, without copying
    a row once for each day of the window. Rows are summed by day first: every other period is made of days.
#}
{% macro period_cells(relation, keys, breakdowns, measures, day, next_day, as_of, rolling=[7, 28, 90]) -%}
{%- set kinds = ['day', 'week', 'month', 'quarter', 'year'] -%}
{%- set dimensions = breakdowns.values() | list -%}
day_cell as (
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        {{ day }} as cell_date,
        {{ next_day if next_day else 'cast(null as date)' }} as next_date,
        {{ breakdown_columns(breakdowns) }},
        {% for measure, type in measures.items() -%}
        cast(sum({{ measure }}) as {{ type }}) as {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from {{ relation }}
    group by {{ breakdown_sets(keys + [day] + ([next_day] if next_day else []), dimensions) }}
),

calendar_row as (
    {% for kind in kinds -%}
    select
        *,
        '{{ kind }}' as period_kind,
        {{ period_start(kind, 'cell_date') }} as period_start_date,
        {{ period_end(kind, period_start(kind, 'cell_date')) }} as period_end_date
    from day_cell
    {% if next_day and kind != 'day' -%}
    where {{ is_latest_in(kind, 'cell_date', 'next_date') }}
    {% endif %}
    union all
    {% endfor -%}
    select
        *,
        'all' as period_kind,
        (select min(cell_date) from day_cell) as period_start_date,
        (select max(as_of_date) from {{ as_of }}) as period_end_date
    from day_cell
    {% if next_day %}where next_date is null{% endif %}
),

calendar_cell as (
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        period_kind,
        period_start_date,
        period_end_date,
        breakdown,
        breakdown_value,
        {% for measure, type in measures.items() -%}
        cast(sum({{ measure }}) as {{ type }}) as {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from calendar_row
    group by
        {% for key in keys %}{{ key }}, {% endfor -%}
        period_kind, period_start_date, period_end_date, breakdown, breakdown_value
),

{% if rolling -%}
rolling_change_row as (
    {% for length in rolling -%}
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        {{ length }} as window_days,
        cell_date as change_date,
        breakdown,
        breakdown_value,
        {{ measures.keys() | join(', ') }}
    from day_cell
    union all
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        {{ length }} as window_days,
        {% if next_day -%}
        least({{ add_days('cell_date', length) }}, coalesce(next_date, {{ add_days('cell_date', length) }}))
            as change_date,
        {%- else -%}
        {{ add_days('cell_date', length) }} as change_date,
        {%- endif %}
        breakdown,
        breakdown_value,
        {% for measure in measures -%}
        -{{ measure }} as {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from day_cell
    {{ 'union all' if not loop.last }}
    {% endfor -%}
),

rolling_change as (
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        window_days,
        change_date,
        breakdown,
        breakdown_value,
        {% for measure, type in measures.items() -%}
        cast(sum({{ measure }}) as {{ type }}) as {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from rolling_change_row
    group by {% for key in keys %}{{ key }}, {% endfor -%} window_days, change_date, breakdown, breakdown_value
),

rolling_total as (
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        window_days,
        breakdown,
        breakdown_value,
        change_date,
        lead(change_date) over time_line as next_change_date,
        {% for measure, type in measures.items() -%}
        cast(sum({{ measure }}) over (time_line rows between unbounded preceding and current row) as {{ type }})
            as {{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from rolling_change
    window
        time_line as (
            partition by {% for key in keys %}{{ key }}, {% endfor -%} window_days, breakdown, breakdown_value
            order by change_date asc
        )
),

rolling_cell as (
    select
        {% for key in keys %}total.{{ key }}, {% endfor -%}
        concat('rolling_', total.window_days, 'd') as period_kind,
        {{ add_days('calendar.calendar_date', '1 - total.window_days') }} as period_start_date,
        calendar.calendar_date as period_end_date,
        total.breakdown,
        total.breakdown_value,
        {% for measure in measures -%}
        total.{{ measure }}{{ ',' if not loop.last }}
        {% endfor %}
    from rolling_total as total
    inner join (
        select time_spine.date_day as calendar_date
        from {{ ref('metricflow_time_spine') }} as time_spine
        where
            time_spine.date_day >= (select min(cell_date) from day_cell)
            and time_spine.date_day <= (select max(as_of_date) from {{ as_of }})
    ) as calendar
        on
            total.change_date <= calendar.calendar_date
            and total.next_change_date > calendar.calendar_date
),

{% endif -%}
period_cell as (
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        period_kind, period_start_date, period_end_date, breakdown, breakdown_value,
        {{ measures.keys() | join(', ') }}
    from calendar_cell
    {% if rolling -%}
    union all
    select
        {% for key in keys %}{{ key }}, {% endfor -%}
        period_kind, period_start_date, period_end_date, breakdown, breakdown_value,
        {{ measures.keys() | join(', ') }}
    from rolling_cell
    {%- endif %}
)
{%- endmacro %}

{# Name and value of a grouping set: each set holds at most one breakdown column, the others are null. #}
{% macro breakdown_columns(breakdowns) -%}
        case
            {% for name, column in breakdowns.items() -%}
            when grouping({{ column }}) = 0 then '{{ name }}'
            {% endfor -%}
            else 'total'
        end as breakdown,
        case
            {% for name, column in breakdowns.items() -%}
            when grouping({{ column }}) = 0 then {{ column }}
            {% endfor -%}
            else 'all'
        end as breakdown_value
{%- endmacro %}

{% macro breakdown_sets(keys, dimensions) -%}
    grouping sets (
        ({{ keys | join(', ') }}){% for dimension in dimensions %},
        ({{ (keys + [dimension]) | join(', ') }}){% endfor %}
    )
{%- endmacro %}

{# True where nothing replaces the row within its own period. #}
{% macro is_latest_in(kind, day, next_day) -%}
    coalesce({{ period_start(kind, next_day) }} <> {{ period_start(kind, day) }}, true)
{%- endmacro %}
