{#
    Whose votes have to be made anew: voters of touched responses, as the answers say now and as the votes said before,
    and those that a build that failed on the way had listed. Where everybody's are made anew, nobody is listed.
#}
-- depends_on: {{ ref('int_answer_scope') }}
{%- set response, answer = ref('int_response_touched'), ref('int_answer_scored') %}
{%- if answer_scope() == 'touched' %}
{%- set before = adapter.get_relation(target.database, 'intermediate', 'int_nps_vote_latest') %}
with touched as (
    select {{ voter_id('answer.') }} as voter_id
    from {{ answer }} as answer
    inner join {{ response }} as response on answer.response_key = response.response_key
    union
    select vote.voter_id
    from {{ before }} as vote
    inner join {{ response }} as response on vote.response_key = response.response_key
    union
    {{ listed_in_vain('int_voter_touched', 'voter_id', 'int_answer_built') }}
)

select
    voter_id,
    '{{ invocation_id }}' as invocation_id
from touched
{%- else %}
select
    {{ voter_id('answer.') }} as voter_id,
    '{{ invocation_id }}' as invocation_id
from {{ answer }} as answer
where false
{%- endif %}
