{# 97.5 % quantile of the standard normal distribution, for two-sided intervals of 95 %. #}
{% macro normal_quantile_975() -%}1.959963984540054e0{%- endmacro %}

{#
    97.5 % quantile of Student's t with so many degrees of freedom: tabled up to 30, beyond by the expansion
    in powers of 1/df of Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5. The error is
    below 1e-7. Null below 1.
#}
{% macro t_quantile_975(df) -%}
    {%- set table = [
        12.706204736175, 4.302652729749, 3.182446305284, 2.776445105198, 2.570581835636, 2.446911851145,
        2.364624251593, 2.306004135204, 2.262157162798, 2.228138851986, 2.200985160092, 2.178812829667,
        2.160368656463, 2.144786687918, 2.131449545560, 2.119905299221, 2.109815577833, 2.100922040241,
        2.093024054408, 2.085963447266, 2.079613844728, 2.073873067904, 2.068657610419, 2.063898561628,
        2.059538552753, 2.055529438643, 2.051830516480, 2.048407141795, 2.045229642133, 2.042272456301,
    ] -%}
    {%- set z = normal_quantile_975() -%}
    {%- set v = 'cast(' ~ df ~ ' as double)' -%}
    case
        {% for quantile in table -%}
        when {{ df }} = {{ loop.index }} then {{ quantile }}
        {% endfor -%}
        when {{ df }} > {{ table | length }} then {{ z }}
            + (power({{ z }}, 3) + {{ z }}) / (4 * {{ v }})
            + (5 * power({{ z }}, 5) + 16 * power({{ z }}, 3) + 3 * {{ z }}) / (96 * power({{ v }}, 2))
            + (3 * power({{ z }}, 7) + 19 * power({{ z }}, 5) + 17 * power({{ z }}, 3) - 15 * {{ z }})
            / (384 * power({{ v }}, 3))
            + (
                79 * power({{ z }}, 9) + 776 * power({{ z }}, 7) + 1482 * power({{ z }}, 5)
                - 1920 * power({{ z }}, 3) - 945 * {{ z }}
            ) / (92160 * power({{ v }}, 4))
    end
{%- endmacro %}

{#
    Wilson score interval of a share, 95 %, 0 to 1; null of nothing. Wilson, Journal of the American Statistical
    Association 22, 1927.
#}
{% macro wilson_low(successes, n) -%}
    case when {{ n }} > 0 then greatest(0, {{ _wilson(successes, n, '-') }}) end
{%- endmacro %}

{% macro wilson_high(successes, n) -%}
    case when {{ n }} > 0 then least(1, {{ _wilson(successes, n, '+') }}) end
{%- endmacro %}

{% macro _wilson(successes, n, sign) -%}
    {%- set z = normal_quantile_975() -%}
    {%- set m = 'nullif(cast(' ~ n ~ ' as double), 0)' -%}
    (
        {{ successes }} + power({{ z }}, 2) / 2
        {{ sign }} {{ z }} * sqrt(
            cast({{ successes }} as double) * ({{ n }} - {{ successes }}) / {{ m }} + power({{ z }}, 2) / 4
        )
    ) / ({{ m }} + power({{ z }}, 2))
{%- endmacro %}

{# Share of a count in another, double, null where there is nothing to divide by. #}
{% macro share(part, whole) -%}
    cast({{ part }} as double) / nullif({{ whole }}, 0)
{%- endmacro %}

{# Sample standard deviation from the sum and the sum of squares. Null below two values. #}
{% macro standard_deviation(sum_x, sum_xx, n) -%}
    sqrt(greatest(
        (cast({{ sum_xx }} as double) - power(cast({{ sum_x }} as double), 2) / nullif({{ n }}, 0))
        / nullif({{ n }} - 1, 0), 0
    ))
{%- endmacro %}

{#
    Interval of a mean, 95 %: mean -+ t(n - 1) * s / sqrt(n), Student, Biometrika 6, 1908. Null below two
    values.
#}
{% macro mean_interval_low(sum_x, sum_xx, n) -%}
    {{ _mean_interval(sum_x, sum_xx, n, '-') }}
{%- endmacro %}

{% macro mean_interval_high(sum_x, sum_xx, n) -%}
    {{ _mean_interval(sum_x, sum_xx, n, '+') }}
{%- endmacro %}

{% macro _mean_interval(sum_x, sum_xx, n, sign) -%}
    {{ share(sum_x, n) }} {{ sign }} {{ t_quantile_975('(' ~ n ~ ' - 1)') }}
    * {{ standard_deviation(sum_x, sum_xx, n) }} / sqrt(nullif({{ n }}, 0))
{%- endmacro %}
