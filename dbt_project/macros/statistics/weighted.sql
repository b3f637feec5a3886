{#
    Weighted scores, from sums over the votes of a cell: the weights w, their squares, and both times the
    vote's category x (1, 0, -1). Sums of decimals, so that they do not depend on the order of the rows.
#}

{# Weighted NPS: 100 * sum(w x) / sum(w). #}
{% macro nps_weighted(sum_wx, sum_w) -%}
    100 * cast({{ sum_wx }} as double) / nullif(cast({{ sum_w }} as double), 0)
{%- endmacro %}

{# Effective sample size, Kish, "Survey Sampling", 1965: sum(w)^2 / sum(w^2). #}
{% macro kish_n_effective(sum_w, sum_ww) -%}
    power(cast({{ sum_w }} as double), 2) / nullif(cast({{ sum_ww }} as double), 0)
{%- endmacro %}

{#
    Standard error of the weighted NPS in points, by Taylor linearisation of the ratio with replacement:
    100 * sqrt(n / (n - 1) * sum(w^2 (x - mean)^2)) / sum(w). Null below two votes. What calibration of the
    weights gains is left out, so the error is not understated.
#}
{% macro nps_weighted_standard_error(sum_w, sum_wx, sum_ww, sum_wwx, sum_wwxx, n) -%}
    {%- set mean = '(cast(' ~ sum_wx ~ ' as double) / nullif(cast(' ~ sum_w ~ ' as double), 0))' -%}
    100 * sqrt(
        cast({{ n }} as double) / nullif({{ n }} - 1, 0) * greatest(
            cast({{ sum_wwxx }} as double)
            - 2 * {{ mean }} * cast({{ sum_wwx }} as double)
            + power({{ mean }}, 2) * cast({{ sum_ww }} as double), 0
        )
    ) / nullif(cast({{ sum_w }} as double), 0)
{%- endmacro %}
