{#
    Why a cell may not be shown, else null.

    below_minimum: fewer than minimum_n votes (primary suppression).
    complementary: the cell would give a hidden one away, because all cells of the group add up to a total
    that is shown (Cox, "Suppression Methodology and Statistical Disclosure Control", JASA 75, 1980). The
    smallest shown cell is hidden too where one hidden cell stands alone, or where the hidden cells together
    have fewer than minimum_n votes; since it has at least minimum_n itself, one is enough. An empty cell holds
    nothing to give away. A reader may have kept the release published now: a cell that it hides and that no
    vote has changed since stays hidden, and one that it shows as it would be tonight is no complement while
    there is another.

    n: votes of the cell. group: expressions of the cells that add up to one total. order_value: expression
    that is unique within the group, to break ties. was_hidden, was_shown: whether the published release hides
    or shows the cell with the same votes (macro compared_cells).
#}
{% macro suppression_reason(n, group, order_value, was_hidden='false', was_shown='false') -%}
    {%- set minimum = var('minimum_n') -%}
    {%- set hidden = '(' ~ n ~ ' > 0 and (' ~ n ~ ' < ' ~ minimum ~ ' or ' ~ was_hidden ~ '))' -%}
    {%- set by = group | join(', ') -%}
    case
        when {{ n }} < {{ minimum }} then 'below_minimum'
        when {{ was_hidden }} then 'complementary'
        when
            (
                count(case when {{ hidden }} then 1 end) over (partition by {{ by }}) = 1
                or sum(case when {{ hidden }} then {{ n }} end) over (partition by {{ by }}) < {{ minimum }}
            )
            and row_number() over (
                partition by {{ by }}
                order by
                    case when {{ n }} < {{ minimum }} or {{ was_hidden }} then 1 else 0 end,
                    case when {{ was_shown }} then 1 else 0 end,
                    {{ n }},
                    {{ order_value }}
            ) = 1
            then 'complementary'
    end
{%- endmacro %}

{#
    The cells of period_cell with was_hidden and was_shown: whether the release that is published now hides or
    shows the cell with as many votes as it has tonight. Without a release, or where minimum_n was changed on
    purpose since, both are false.

    The release lies outside of the warehouse, so it is no source of the project: what it showed decides what
    tonight may show, never what tonight's figures are.

    mart: the mart the cells become. keys: columns that tell its cells apart.
#}
{% macro compared_cells(mart, keys) -%}
    {%- set file = env_var('EXPERIENCE_HOME', '../var') ~ '/serving/current/parquet/' ~ mart ~ '.parquet' -%}
    {%- set file = "'" ~ file | replace("'", "''") ~ "'" -%}
    {%- set found = namespace(release=false) -%}
    {%- if execute -%}
        {%- set found.release = run_query('select count(*) from glob(' ~ file ~ ')').columns[0].values()[0] > 0 -%}
    {%- endif -%}
    published_cell as (
        select {{ keys | join(', ') }}, n, is_suppressed, minimum_n
        from {% if found.release %}read_parquet({{ file }}){% else %}(
            select *, false as is_suppressed, {{ var('minimum_n') }} as minimum_n from period_cell where false
        ){% endif %}
    ),

    compared_cell as (
        select
            period_cell.*,
            coalesce(published_cell.is_suppressed, false) as was_hidden,
            coalesce(not published_cell.is_suppressed, false) as was_shown
        from period_cell
        left join published_cell
            on period_cell.n = published_cell.n
            and published_cell.minimum_n = {{ var('minimum_n') }}
            {%- for key in keys %}
            and period_cell.{{ key }} = published_cell.{{ key }}
            {%- endfor %}
    )
{%- endmacro %}
