"""A person's name in the report stops the night in front of the swap."""


def test_a_name_in_the_report_is_not_published(published_bench):
    bench, before = published_bench, published_bench.release()
    # The page is called so: a customer of that name stands on it.
    bench.crm("UPDATE customers SET name = 'Customer experience', updated_at = '2026-05-04 09:00:00' WHERE id = 'c1'")
    night = bench.night()
    assert not night.published
    assert "the report holds personal data: the name of a customer stands in" in night.text
    assert "Customer experience" not in night.text
    assert bench.release() == before
