{#
    Whose sessions have to be made anew: visitors whose events changed, and visitors whom identity resolution has given
    another person since the last build, and those whom a build that failed on the way had listed. Where everybody's
    are made anew, nobody is listed.
#}
{%- set logins_before = adapter.get_relation(target.database, 'intermediate', 'int_visitor_login') -%}with touched as (
    select entity.key as visitor_hash
    from {{ touched_log('web_event', 'entity') }} as entity
    inner join {{ ref('int_web_scope') }} as scope
        on
            entity.sequence > scope.built_sequence
            and entity.sequence <= scope.sequence
    union
    select record_hash as visitor_hash
    from {{ ref('int_visitor_moved') }}
    where record_table = 'visitor'
    {%- if logins_before %}
    union
    select login_before.visitor_hash
    from {{ logins_before }} as login_before
    inner join {{ ref('int_visitor_moved') }} as moved
        on
            {{ fingerprint(['login_before.source', 'login_before.user_id']) }} = moved.record_hash
            and moved.record_table = 'login'
    {%- endif %}
    {%- if web_scope() == 'touched' %}
    union
    {{ listed_in_vain('int_visitor_touched', 'visitor_hash', 'int_web_built') }}
    {%- endif %}
)

select
    visitor_hash,
    '{{ invocation_id }}' as invocation_id
from touched
where {{ 'false' if web_scope() == 'all' else 'true' }}
