{# A value moved from one scale to another, linearly: the ends go to the ends. #}
{% macro rescale(value, from_min, from_max, to_min=0, to_max=100) -%}
    {{ to_min }} + cast({{ value }} - {{ from_min }} as double) * ({{ to_max }} - {{ to_min }})
    / nullif({{ from_max }} - {{ from_min }}, 0)
{%- endmacro %}

{# The value with its scale turned round where the lowest point is the best, so that more is better. #}
{% macro best_upwards(value, scale_min, scale_max, scale_direction) -%}
    case
        when {{ scale_direction }} = 'descending' then {{ scale_min }} + {{ scale_max }} - {{ value }}
        else {{ value }}
    end
{%- endmacro %}

{#
    True where a score, more being better, lies in the top box of its question.
    CSAT and ratings: the two best points (4 and 5 of 1-5), one best point on scales of three points and fewer.
    CES: above the middle of the scale (5, 6, 7 of 1-7: "made it easy", CEB 2013).
    NPS: promoters. Null where the question says neither scale nor metric that has a top box.
#}
{% macro is_top_box(metric, score, scale_min, scale_max) -%}
    case
        when {{ metric }} = 'nps' then {{ score }} >= 9
        when {{ metric }} = 'ces' then {{ score }} > ({{ scale_min }} + {{ scale_max }}) / 2
        when {{ metric }} in ('csat', 'rating') and {{ scale_max }} - {{ scale_min }} >= 3
            then {{ score }} > {{ scale_max }} - 2
        when {{ metric }} in ('csat', 'rating') then {{ score }} > {{ scale_max }} - 1
    end
{%- endmacro %}
