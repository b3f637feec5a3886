{#
    Why a cell may not be shown, else null.

    below_minimum: fewer than minimum_n votes (primary suppression).
    complementary: the cell would give a hidden one away, because all cells of the group add up to a total
    that is shown (Cox, "Suppression Methodology and Statistical Disclosure Control", JASA 75, 1980). The
    smallest shown cell is hidden too where one hidden cell stands alone, or where the hidden cells together
    have fewer than minimum_n votes; since it has at least minimum_n itself, one is enough. An empty cell holds
    nothing to give away.

    n: votes of the cell. group: expressions of the cells that add up to one total. order_value: expression
    that is unique within the group, to break ties.
#}
{% macro suppression_reason(n, group, order_value) -%}
    {%- set minimum = var('minimum_n') -%}
    {%- set small = n ~ ' > 0 and ' ~ n ~ ' < ' ~ minimum -%}
    {%- set by = group | join(', ') -%}
    case
        when {{ n }} < {{ minimum }} then 'below_minimum'
        when
            (
                count(case when {{ small }} then 1 end) over (partition by {{ by }}) = 1
                or sum(case when {{ small }} then {{ n }} end) over (partition by {{ by }}) < {{ minimum }}
            )
            and row_number() over (
                partition by {{ by }}
                order by case when {{ n }} < {{ minimum }} then 1 else 0 end, {{ n }}, {{ order_value }}
            ) = 1
            then 'complementary'
    end
{%- endmacro %}
