{#
    Net Promoter Score. Reichheld, "The One Number You Need to Grow", Harvard Business Review, December 2003.
    Counts go in, scores come out: a score of scores is never taken. Points from -100 to 100, double.
#}

{# 1 for a promoter (9, 10), 0 for a passive (7, 8), -1 for a detractor (0 to 6). #}
{% macro nps_category(value) -%}
    case when {{ value }} >= 9 then 1 when {{ value }} >= 7 then 0 when {{ value }} >= 0 then -1 end
{%- endmacro %}

{# True for what may count as a vote: a whole number from 0 to 10. #}
{% macro is_nps_vote(value) -%}
    coalesce({{ value }} between 0 and 10 and {{ value }} = floor({{ value }}), false)
{%- endmacro %}

{# Whose vote an answer is: the person's; who is not known votes with every response. #}
{% macro voter_id(of='') -%}
    coalesce({{ of }}person_id, {{ of }}response_key)
{%- endmacro %}

{% macro nps_score(promoters, detractors, n) -%}
    100 * (cast({{ promoters }} as double) - {{ detractors }}) / nullif({{ n }}, 0)
{%- endmacro %}

{# Standard error of the score in points: 100 * sqrt((p + d - (p - d)^2) / n), the multinomial variance. #}
{% macro nps_standard_error(promoters, detractors, n) -%}
    100 * sqrt(greatest(
        (cast({{ promoters }} as double) + {{ detractors }}) / nullif({{ n }}, 0)
        - power((cast({{ promoters }} as double) - {{ detractors }}) / nullif({{ n }}, 0), 2), 0
    ) / nullif({{ n }}, 0))
{%- endmacro %}

{#
    Adjusted Wald interval, 95 %: 3 votes are added, 3/4 each of promoters and detractors. Rocks, "Interval
    Estimation for the Net Promoter Score", The American Statistician 70(4), 2016, 365-372. Cut at -100 and 100.
#}
{% macro nps_interval_low(promoters, detractors, n) -%}
    {{ _nps_interval(promoters, detractors, n, '-') }}
{%- endmacro %}

{% macro nps_interval_high(promoters, detractors, n) -%}
    {{ _nps_interval(promoters, detractors, n, '+') }}
{%- endmacro %}

{% macro _nps_interval(promoters, detractors, n, sign) -%}
    {%- set p = '(' ~ promoters ~ ' + 0.75)' -%}
    {%- set d = '(' ~ detractors ~ ' + 0.75)' -%}
    {%- set m = '(cast(nullif(' ~ n ~ ', 0) as double) + 3)' -%}
    case when {{ n }} > 0 then least(100, greatest(-100,
        {{ nps_score(p, d, m) }} {{ sign }} {{ normal_quantile_975() }} * {{ nps_standard_error(p, d, m) }}
    )) end
{%- endmacro %}
