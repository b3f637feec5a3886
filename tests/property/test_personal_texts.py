"""What is told of a text at little cost never hides a person: a text equal to a marked value is marked itself."""

import duckdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_quality.personal_data import EMAIL, email_sql, id_card_sql, is_id_card, marked_sql

CONNECTION = duckdb.connect()
TEXTS = st.one_of(
    st.text(alphabet=" @+09:/aZ\u3000\u00e9\u212a\u0130\u4f60", max_size=12),
    st.from_regex(r"\A *\+?[0-9]{1,14} *\Z"),
    st.from_regex(r"\A *[0-9][0-9a-fA-F]{20,30}[0-9] *\Z"),
)


def ask(expression, text):
    query = f"SELECT {expression} FROM (SELECT ?::VARCHAR AS value)"
    return CONNECTION.execute(query, [text]).fetchone()[0]


@settings(deadline=None)
@given(TEXTS)
@example("ANN LEE")
@example(" +86138 ")
@example("\u0130")
def test_a_text_is_marked_where_its_lower_case_is(text):
    if ask(marked_sql("lower(trim(value))"), text):
        assert ask(marked_sql("value"), text)


@settings(deadline=None)
@given(TEXTS | st.from_regex(r"[a-z]{1,3}@[a-z]{1,3}\.[a-z]{2}"))
def test_an_address_is_found_with_and_without_the_look_at_one_character(text):
    assert ask(email_sql("value"), text) == ask(f"regexp_matches(value, '{EMAIL}')", text)


@settings(deadline=None)
@given(
    st.from_regex(r"\A[1-9][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9])[0-9]{3}[0-9X]\Z"),
    st.sampled_from(["", "id ", "a", "7"]),
)
@example("11010519491231002X", "")
@example("11010519491231002X", "(")
def test_an_identity_card_is_found_by_its_check_digit(number, before):
    stands_alone = not before or not before[-1].isalnum()
    assert ask(id_card_sql("value"), before + number) == (stands_alone and is_id_card(number))
