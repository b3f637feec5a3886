-- Comes after everything that is made by visitor or by person: a build that fails on the way is not built upon.
-- depends_on: {{ ref('int_visitor_person_built') }}
select
    sequence,
    token,
    settings,
    '{{ invocation_id }}' as invocation_id
from {{ ref('int_web_scope') }}
