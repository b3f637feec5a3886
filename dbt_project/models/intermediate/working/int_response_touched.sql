{#
    Whose answers have to be made anew: responses of which an answer changed, and responses that themselves came out
    otherwise than at the last build, and those that a build that failed on the way had listed. Where everybody's are
    made anew, nobody is listed.
#}
-- depends_on: {{ ref('int_answer_scope') }}
{%- set response, log = ref('int_response_fingerprinted'), touched_log('answer', 'entity') %}
{%- if answer_scope() == 'touched' %}
{%- set before = adapter.get_relation(target.database, 'working', 'int_response_built') %}
with answered as (
    select entity.key as response_hash
    from {{ log }} as entity
    inner join {{ ref('int_answer_scope') }} as scope
        on
            entity.sequence > scope.built_sequence
            and entity.sequence <= scope.sequence
),

compared as (
    select
        coalesce(response.response_key, before.response_key) as response_key,
        coalesce(response.response_hash, before.response_hash) as response_hash,
        (response.content_hash is distinct from before.content_hash) as is_changed
    from {{ response }} as response
    full join {{ before }} as before on response.response_key = before.response_key
),

touched as (
    select compared.response_key
    from compared
    left join answered on compared.response_hash = answered.response_hash
    where compared.is_changed or answered.response_hash is not null
    union
    {{ listed_in_vain('int_response_touched', 'response_key', 'int_answer_built') }}
)

select
    response_key,
    '{{ invocation_id }}' as invocation_id
from touched
{%- else %}
select
    response_key,
    '{{ invocation_id }}' as invocation_id
from {{ response }}
where false
{%- endif %}
