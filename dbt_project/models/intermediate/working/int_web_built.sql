-- Comes after everything that is made by visitor: a build that fails on the way is not built upon.
-- depends_on: {{ ref('int_visitor_person_built') }}
select
    sequence,
    token,
    settings
from {{ ref('int_web_scope') }}
