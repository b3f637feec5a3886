-- Comes after everything that is made by response: a build that fails on the way is not built upon.
-- depends_on: {{ ref('int_response_built') }}
select
    sequence,
    token,
    settings
from {{ ref('int_answer_scope') }}
