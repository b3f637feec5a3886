{%- set built = built_upon('int_answer_built', {
    'int_response_built': 'working',
    'int_response_touched': 'working',
    'int_voter_touched': 'working',
    'int_answer_scored': 'intermediate',
    'int_nps_vote_latest': 'intermediate',
    'fct_answer': 'marts',
    'fct_response': 'marts',
}) -%}
{%- set settings -%}
    select md5(coalesce(string_agg(declaration, ';' order by declaration), '')) as settings
    from (
        select {{ surrogate_key([
            'source', 'survey_id', 'survey_version', 'question_id', 'metric', 'scale_min', 'scale_max',
            'scale_direction', 'touchpoint_id', 'stage_id', 'dimension',
        ]) }} as declaration
        from {{ ref('int_question_versioned') }}
    ) as question
{%- endset -%}
{{ scope_query('answer', built, settings) }}
