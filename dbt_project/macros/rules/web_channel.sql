{#
    Channel that a session came by: a row of the channel seed. What the campaign says comes first, then the
    referrer; neither means direct.
#}
{% macro web_channel(utm_source, utm_medium, referrer) -%}
    {%- set medium = 'lower(coalesce(' ~ utm_medium ~ ", ''))" -%}
    {%- set origin = 'lower(coalesce(' ~ utm_source ~ ", ''))" -%}
    {%- set search = "'(google|bing|baidu|duckduckgo|yandex|sogou|so[.]com|ecosia|yahoo)'" -%}
    {%- set social = "'(facebook|instagram|twitter|linkedin|weibo|xiaohongshu|douyin|tiktok|youtube|reddit|zhihu|(^|/)(x|t)[.]com?(/|$))'" -%}
    {%- set host = "lower(coalesce(" ~ referrer ~ ", ''))" -%}
    case
        when {{ matches_regex(medium, "'(wechat|weixin)'") }} or {{ matches_regex(origin, "'(wechat|weixin)'") }}
            then 'wechat'
        when {{ matches_regex(medium, "'(cpc|ppc|cpm|cpv|paid|display|banner|retargeting|^ads?$)'") }} then 'ad'
        when {{ matches_regex(medium, "'(email|e-mail|newsletter|edm)'") }} then 'email'
        when {{ matches_regex(medium, "'social'") }} then 'social'
        when {{ medium }} = 'organic' then 'search'
        when {{ medium }} in ('app', 'push') then 'app'
        when {{ medium }} = 'referral' then 'referral'
        when {{ matches_regex(origin, search) }} then 'search'
        when {{ matches_regex(origin, social) }} then 'social'
        when {{ matches_regex(host, search) }} then 'search'
        when {{ matches_regex(host, social) }} then 'social'
        when {{ host }} <> '' then 'referral'
        else 'direct'
    end
{%- endmacro %}
