-- Comes after everything that is made by response: a build that fails on the way is not built upon.
-- depends_on: {{ ref('int_response_built') }}
select
    sequence,
    token,
    settings,
    '{{ invocation_id }}' as invocation_id
from {{ ref('int_answer_scope') }}
