-- Read once here, because every model behind would look through all events for these few.
-- depends_on: {{ ref('int_web_scope') }}
select event.*
from {{ ref('int_web_event_filtered') }} as event
inner join {{ ref('int_visitor_touched') }} as touched on event.visitor_hash = touched.visitor_hash
